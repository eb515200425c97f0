# Three ways in, each with more of the curriculum:
#
#     docker build -t ml-dojo .                      module 01: numpy, and the oracles that judge it
#     docker build -t ml-dojo --target models .      modules 04, 05, 06 and 08: torch on the CPU, and real models
#     docker build -t ml-dojo --target triton .      the kernels of module 08, and the lab notebooks
#
# Your work stays in your clone, which is mounted over the copy in the image:
#
#     docker run --rm -it -v "$PWD":/dojo ml-dojo dojo watch

FROM python:3.13-slim AS numpy
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# git brings updates and puts stubs back.  The folder is the user's on the host, and somebody else's here.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends -y git \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /dojo
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
WORKDIR /dojo
# What rarely changes comes first, so that another lesson doesn't install everything again.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY dojo dojo
COPY fixtures fixtures
RUN pip install -c constraints.txt -e . && pip install --no-deps -r fixtures/requirements.txt
COPY . .
CMD ["pytest", "katas/module_01", "-x"]

FROM numpy AS models
RUN pip install --extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt -e '.[models]' \
    && pip install --no-deps -r fixtures/requirements-models.txt
CMD ["dojo"]

FROM models AS triton
RUN pip install --extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt -e '.[triton,notebooks]'

# Without --target it is the small one.
FROM numpy
