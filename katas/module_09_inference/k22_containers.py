"""Containers: a Dockerfile, a deployment, and a function without a server

**Before you start.**  You need to have seen a Dockerfile and some YAML; no other kata.  If both are
new: "Dockerfile overview" in Docker's documentation, and "Pods" and "Deployments" in that of
Kubernetes.

**The idea.**  On your machine the service works.  It needs your Python, your packages, a folder
that happens to be there.  A *container image* is all of that in one file, so that it runs the same
everywhere.  An image is built in *layers*, one for each instruction of a Dockerfile.  A cluster
manager, Kubernetes, then runs copies of it.  It has to be told much that you know and it doesn't:
how long the start may take, how much memory is too much, when to add copies.

Nothing here needs Docker or a cluster.  You write texts and plain dicts, and the tests check them
rule by rule.

**The formulas.**  An instruction is run again, and not taken from the cache, if one of these holds:

    1. an instruction before it in its stage is run again
    2. it copies a file that has changed
    3. it takes something from another stage, and there some instruction is run again

And while a new version is rolled out over `replicas` pods:

    at most      replicas + ⌈replicas · surge⌉           pods, old and new
    at least     replicas - ⌊replicas · unavailable⌋     that answer

**A drawing** of a build after one line of app/main.py was changed.  The order decides:

    0 FROM python:3.12-slim        ░      0 FROM python:3.12-slim       ░
    1 COPY . .                     █      1 COPY requirements.txt .     ░
    2 RUN pip install …   2 min    █      2 RUN pip install …   2 min   ░
    3 CMD ["python", …]            █      3 COPY app app                █
                                          4 CMD ["python", …]           █
    █ run again    ░ from the cache

And of a pod's end.  Who leaves at once drops requests that are still on their way:

    "end"          ├── preStop: 5 s ──┼── drain: finish what runs ──┤ killed
    new requests   │ still come       │ none                        │
                   ├──── terminationGracePeriodSeconds, at least ───┤

**Why two stages?**  To install packages you need pip, and often a compiler.  To run, you need
neither.  What isn't in the image can't be attacked, and needn't be sent around.  So one stage
builds, and the last one copies the result.

**Why a number for the user?**  Root in a container is too much power, should somebody break in.
Kubernetes can refuse to start root (runAsNonRoot).  But it reads the image's settings only: it
knows that 10001 isn't root, and it can't know that of a name.

**Why no shell around the command?**  `CMD python app.py` starts a shell, which starts Python.  The
signal to end goes to the shell, which doesn't hand it on.  The list form, CMD ["python", …],
starts Python itself.

**Why is memory limited to what was requested?**  The request is for the scheduler: it picks a
machine with that much free.  If the limit is higher, the machine may promise more than it has, and
then kills whom it likes.

**Why no number of replicas?**  The autoscaler sets it.  If the deployment said 3, each rollout
would throw the autoscaler's 12 back to 3, at the busiest hour.

**Why keep the model outside of the handler?**  A serverless platform starts your program when a
request comes, and keeps it for a while.  The first request pays for loading the model.  The next
ones needn't, if the model is kept.

**Worked by hand**

    the right Dockerfile above
        app/main.py changed           3 and 4 are run again
        requirements.txt changed      1, 2, 3 and 4
        README.md changed             none: nobody copies it
    10 replicas, surge "25%", unavailable "25%"      at most 10 + 3 = 13, at least 10 - 2 = 8
    3 replicas, surge 1, unavailable 0               at most 4, at least 3
    tags        python:3.12 has one, registry:5000/team/app has none: that is a port

**Shapes**: no arrays.  No function changes its arguments.

**Steps.**  A good place to pause is after run_again, and after rollout.

    parse         12 min   comments, and lines that go on
    run_again     18 min   stage by stage
    dockerfile    16 min   what changes often comes last
    rollout        6 min   up for the one, down for the other
    manifests     22 min   three objects that must fit together
    make_handler  14 min   the first request, and all others

Sources: Docker's documentation, "Dockerfile reference" and "Build cache"; Kubernetes'
documentation, "Deployments", "Liveness, Readiness, and Startup Probes", "Pod Lifecycle" and
"Horizontal Pod Autoscaling"; the National Security Agency and CISA 2022, "Kubernetes Hardening
Guide".

From scratch: dockerfile_parse may not be used.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

INSTRUCTIONS = {
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK",
    "LABEL", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip
"""All there are.  This is given."""


@dataclass(frozen=True)
class Instruction:
    """An instruction of a Dockerfile: its name in capitals, and what stands after it.  This is given."""

    name: str
    args: str


@dataclass(frozen=True)
class App:
    """A service, as its deployment has to know it.  This is given.

    name            such as "reviews"
    image           such as "registry.example.org/reviews:1.4.2"
    port            on which it listens
    uid             the number of the user that it runs as
    cpu, memory     what a pod needs, in Kubernetes' units: "500m", "512Mi"
    fewest, most    pods
    load            the share of `cpu` that a pod should use on average, in percent: 70
    startup         seconds until it answers at all, at most
    drain           seconds that it needs at its end to finish what runs, at most
    """

    name: str
    image: str
    port: int
    uid: int
    cpu: str
    memory: str
    fewest: int
    most: int
    load: int
    startup: int
    drain: int


def parse(text: str) -> list[Instruction]:
    r"""The instructions of a Dockerfile, in order.

    - A name may be written in small letters.  What stands after it, without blanks around it, is `args`; "" if
      there is nothing.  How many blanks stand between two words of it is left open.
    - A line whose first character, blanks aside, is "#" is a comment, also between the lines of an instruction.
      Further right, "#" is a character like others.
    - If a line ends in a backslash, the instruction goes on in the next line; blanks may follow the backslash.
      The lines are joined without the backslash and without anything in between: "ab\" and "cd" give "abcd".
    - Lines of blanks alone are skipped, also between the lines of an instruction.
    - Lines end in "\n" or "\r\n".  Here-documents and parser directives are left out of this kata.

    Raises ValueError, naming the word and the number of its line from 1, for a name that isn't in INSTRUCTIONS.
    Raises ValueError, saying "FROM", if anything but ARG stands before the first FROM, or if there is none.
    """
    raise NotImplementedError


def run_again(instructions: Sequence[Instruction], changed: Collection[str]) -> list[int]:
    """Which instructions are run again by a build, as numbers from 0, ascending: the rules of the lesson.

    All was built before, and since then the files `changed` have changed: paths such as "app/main.py".

    - A stage begins with FROM.  `FROM image AS name` names it; AS may be written in small letters.  Stages are also
      numbered from 0.  What stands before the first FROM is never run again.
    - Only the last stage is asked for.  A stage that it doesn't need, directly or by others, isn't built: its
      instructions aren't in the answer.
    - `FROM x` and `COPY --from=x` need the stage x, if an earlier one has this name; and --from also takes its number.
      Any other x is an image of somewhere else, which doesn't change.
    - COPY and ADD have flags first, "--chown=…" and the like, then one or more sources, then the destination.
      Without --from the sources are files and folders that lie beside the Dockerfile, and a folder takes all in it:
      "app", "app/" and "./app" take app/main.py and app/x/y.py, not app2/z.py; "." takes everything.
      Patterns, quotes and the list form are left out of this kata.
    - By rule 1 every later instruction of a stage follows, whatever it is.
    """
    raise NotImplementedError


def dockerfile(python: str, module: str, port: int, uid: int) -> str:
    """A Dockerfile that serves `module`, such as "app.main:app", with uvicorn.

    Beside it lie requirements.txt, which has uvicorn in it, and the folder app; nothing else is copied.

    - There are two stages or more.  Each is FROM python:{python}-slim, or FROM an earlier stage.
    - One RUN with "pip install", in a stage before the last, installs from requirements.txt, with --no-cache-dir.
    - The last stage has no RUN.  It copies what was installed --from the stage that installed it, and the folder app.
      A virtual environment must be copied to the very path where it was made, as that path stands in it.
      Its bin folder is then in the PATH, by ENV, or the command names the program in it.
    - When a file in app has changed, no RUN is run again.
    - The last stage has an absolute WORKDIR, EXPOSE with the port, the environment variable PYTHONUNBUFFERED,
      so that logs come at once, and as its last USER the number `uid`, alone or with a group's number after ":".
    - Its last instruction of its kind is one CMD in list form, without a shell, and there is no ENTRYPOINT: "uvicorn", or
      "python", "-m", "uvicorn", with the module, and "--host" "0.0.0.0" and "--port" with the port as a text.
      A container that listens on 127.0.0.1 hears nobody.
    - There is no ADD.  hadolint, a linter for Dockerfiles, finds nothing in it.
    """
    raise NotImplementedError


def rollout(replicas: int, surge: int | str, unavailable: int | str) -> tuple[int, int]:
    """(at most, at least): how many pods there are, and how many answer, during a rollout.  replicas ≥ 0.

    - `surge` and `unavailable` are numbers of pods ≥ 0, or a percentage as a text, such as "25%": then it is that share
      of the replicas, exactly, rounded up for surge, and down for unavailable.
    - If both come to 0 pods, nothing could move: then 1 may be unavailable.
    - No fewer than 0 answer.

    Raises ValueError, naming both, if both are 0 or "0%".
    """
    raise NotImplementedError


def manifests(app: App) -> list[dict[str, Any]]:
    """A Deployment (apps/v1), a Service (v1) and a HorizontalPodAutoscaler (autoscaling/v2), in any order.

    They consist of dicts, lists, texts, numbers and booleans.  All have the app's name.  What isn't said is left open.

    The Deployment
    - has no `replicas`, and a selector with one label or more, all of which its pods have;
    - rolls out with maxUnavailable 0 and maxSurge 1.
    Its pods
    - have one container, with the app's image, and its port among its ports;
    - request the app's cpu and memory, and are limited to just that memory;
    - have httpGet probes, the port given by its number or its name: a startupProbe and a livenessProbe for
      /v2/health/live, and a readinessProbe for /v2/health/ready;
    - may take `startup` seconds: that is at most periodSeconds · failureThreshold of the startupProbe, both written out;
    - wait 5 seconds or more in preStop, by {"sleep": {"seconds": 5}}, and terminationGracePeriodSeconds is at least
      that wait and `drain` together;
    - run as `uid` with runAsNonRoot, said for the pod or the container; and, said for the container, with
      allowPrivilegeEscalation false, readOnlyRootFilesystem true and the capabilities "ALL" dropped;
    - can write to /tmp, where an emptyDir is mounted;
    - get no token for the cluster: automountServiceAccountToken is false.
    The Service
    - selects the pods by one label or more, and its port 80 leads to the app's port, by number or name.
    The autoscaler
    - has the Deployment as its target, the fewest and the most replicas, and one metric: the Utilization of the
      resource cpu, on average `load`.

    Raises ValueError, naming the image, if nothing says which version of it is meant: it has no digest ("@sha256:…"),
    and no tag, or the tag latest.  With a digest the tag doesn't matter.
    Raises ValueError, naming both, unless 1 ≤ fewest ≤ most.
    """
    raise NotImplementedError


def make_handler(
    load: Callable[[], Callable[[list[Any]], list[Any]]], max_bytes: int
) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """A handler for a serverless platform, called as handler(event, context) for each request, one at a time.

    load()  loads the model, which takes long; gives predict(instances) -> predictions

    - event["body"] is a text, or None, or missing; with event["isBase64Encoded"] true it is base64.
    - The answer is {"statusCode": …, "headers": {"content-type": "application/json"}, "body": …}.  The body is
      JSON as a text: {"predictions": […]} with the status 200, and {"error": "what is wrong"} otherwise.
    - 413, naming max_bytes: the body has more bytes than that, in UTF-8 or after base64.
    - 400: the body is anything but a JSON object whose "instances" is a list with one element or more.
    - 503: load raised something.  500: predict raised something.  The error doesn't hold the exception's text.
    - Nothing is loaded before the first request that needs it: make_handler doesn't, and neither does a bad request.
      It is loaded once, and kept for all later ones.  If load raised, the next request tries again.
    - Whatever the body holds, the handler raises nothing.  Exceptions that aren't of the class Exception go through.
    """
    raise NotImplementedError
