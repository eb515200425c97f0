"""Containers: the reference."""

import base64
import json
import re
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
    """A service, as its deployment has to know it.  This is given."""

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
    whole: list[tuple[int, str]] = []  # (number of its first line, an instruction in one line)
    goes_on = False
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip()
        if not line or line.lstrip().startswith("#"):
            continue  # also within an instruction, which then still goes on
        part = line.removesuffix("\\")
        if goes_on:
            whole[-1] = (whole[-1][0], whole[-1][1] + part)
        else:
            whole.append((number, part))
        goes_on = part != line
    found = []
    for number, line in whole:
        name, args = [*line.split(None, 1), ""][:2]
        if name.upper() not in INSTRUCTIONS:
            raise ValueError(f"line {number}: there is no instruction {name!r}")
        found.append(Instruction(name.upper(), args))
    first = next((one.name for one in found if one.name != "ARG"), None)
    if first != "FROM":
        raise ValueError(f"expected a FROM first, after ARG at most, got {first}")
    return found


def _is_in(path: str, source: str) -> bool:
    source = source.removeprefix("./").rstrip("/")
    return source in ("", ".") or path == source or path.startswith(source + "/")


def run_again(instructions: Sequence[Instruction], changed: Collection[str]) -> list[int]:
    names: dict[str | None, int] = {}
    stages: list[list[int]] = []  # for each stage those of its instructions that are run again
    needs: list[set[int]] = []
    for i, one in enumerate(instructions):
        words = one.args.split()
        flags = [word for word in words if word.startswith("--")] if one.name in ("COPY", "ADD") else []
        fresh = False
        if one.name == "FROM":
            source = names.get(words[0])
            stages.append([])
            needs.append(set())
            if len(words) == 3:
                names[words[2]] = len(stages) - 1
        elif not stages:
            continue
        else:
            wanted = next((flag.removeprefix("--from=") for flag in flags if flag.startswith("--from=")), None)
            source = names.get(wanted)
            if source is None and wanted is not None and wanted.isdigit():
                source = int(wanted)
            if one.name in ("COPY", "ADD") and wanted is None:
                sources = words[len(flags) : -1]
                fresh = any(_is_in(path, source) for path in changed for source in sources)
        if source is not None:
            needs[-1].add(source)
            fresh = fresh or stages[source] != []
        if fresh or stages[-1]:
            stages[-1].append(i)
    needed = {len(stages) - 1}
    for stage in reversed(range(len(stages))):  # a stage needs earlier ones only
        if stage in needed:
            needed |= needs[stage]
    return sorted(i for stage in needed for i in stages[stage])


def dockerfile(python: str, module: str, port: int, uid: int) -> str:
    command = ["python", "-m", "uvicorn", module, "--host", "0.0.0.0", "--port", str(port)]
    return f"""\
FROM python:{python}-slim AS build
WORKDIR /build
RUN python -m venv /venv
# Before the code, which changes more often.
COPY requirements.txt .
RUN /venv/bin/pip install --no-cache-dir -r requirements.txt

FROM python:{python}-slim
WORKDIR /srv
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
COPY app app
USER {uid}:{uid}
EXPOSE {port}
CMD {json.dumps(command)}
"""


def _pods(value: int | str, replicas: int, up: bool) -> int:
    if isinstance(value, int):
        return value
    hundredths = replicas * int(value.removesuffix("%"))
    # In whole numbers: 0.07 · 100 is a little more than 7 as a float.
    return -(-hundredths // 100) if up else hundredths // 100


def rollout(replicas: int, surge: int | str, unavailable: int | str) -> tuple[int, int]:
    if {surge, unavailable} <= {0, "0%"}:
        raise ValueError(f"nothing could move with a surge of {surge} and {unavailable} unavailable")
    more, fewer = _pods(surge, replicas, True), _pods(unavailable, replicas, False)
    if more == fewer == 0:
        fewer = 1
    return replicas + more, max(0, replicas - fewer)


def manifests(app: App) -> list[dict[str, Any]]:
    # The tag stands behind the last slash: a colon before it belongs to a port.
    tag = re.search(r":([^/:@]+)$", app.image)
    if "@sha256:" not in app.image and (tag is None or tag[1] == "latest"):
        raise ValueError(f"the image {app.image} has no tag that says which one it is")
    if not 1 <= app.fewest <= app.most:
        raise ValueError(f"expected 1 ≤ fewest ≤ most, got {app.fewest} and {app.most}")
    labels = {"app": app.name}

    def probe(path: str, **more: int) -> dict[str, Any]:
        return {"httpGet": {"path": f"/v2/health/{path}", "port": app.port}, **more}

    wait, period = 5, 5
    container = {
        "name": app.name,
        "image": app.image,
        "ports": [{"containerPort": app.port}],
        "resources": {"requests": {"cpu": app.cpu, "memory": app.memory}, "limits": {"memory": app.memory}},
        "startupProbe": probe("live", periodSeconds=period, failureThreshold=max(1, -(-app.startup // period))),
        "livenessProbe": probe("live"),
        "readinessProbe": probe("ready"),
        "lifecycle": {"preStop": {"sleep": {"seconds": wait}}},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": app.uid,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": wait + app.drain,
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": app.name, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": app.name, "labels": labels},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": app.port}]},
    }
    target = {"type": "Utilization", "averageUtilization": app.load}
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": app.name, "labels": labels},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": app.name},
            "minReplicas": app.fewest,
            "maxReplicas": app.most,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }
    return [deployment, service, autoscaler]


class _Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def _instances(event: dict[str, Any], max_bytes: int) -> list[Any]:
    body = event.get("body") or ""
    try:
        raw = base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
    except ValueError as error:  # also a text that has no UTF-8
        raise _Refused(400, "the body can't be decoded") from error
    if len(raw) > max_bytes:
        raise _Refused(413, f"the body has more than {max_bytes} bytes")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _Refused(400, "the body is no JSON") from error
    instances = value.get("instances") if isinstance(value, dict) else None
    if not isinstance(instances, list) or not instances:
        raise _Refused(400, 'expected {"instances": [one or more]}')
    return instances


def make_handler(
    load: Callable[[], Callable[[list[Any]], list[Any]]], max_bytes: int
) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    model: list[Callable[[list[Any]], list[Any]]] = []  # empty until it is loaded

    def answer(status: int, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"content-type": "application/json"}
        return {"statusCode": status, "headers": headers, "body": json.dumps(body)}

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        try:
            instances = _instances(event, max_bytes)
        except _Refused as error:
            return answer(error.status, {"error": str(error)})
        if not model:
            try:
                model.append(load())
            except Exception:
                return answer(503, {"error": "the model can't be loaded now"})
        try:
            return answer(200, {"predictions": model[0](instances)})
        except Exception:
            return answer(500, {"error": "the model failed"})

    return handler
