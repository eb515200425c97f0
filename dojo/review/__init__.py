"""What is due for practice again, and cards of formulas and mistakes."""
