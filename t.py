import sys, importlib.util
sys.path.insert(0,"/tmp/atk_e")
def load(p):
    s=importlib.util.spec_from_file_location("m",p); m=importlib.util.module_from_spec(s); s.loader.exec_module(m); return m
