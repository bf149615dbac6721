# One image for every service of compose.yaml: each container runs `rectory up --only <service>`.
FROM python:3.11-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc g++ libc6-dev && rm -rf /var/lib/apt/lists/*
# Without it LightFM is built for the machine that builds, and dies of an illegal instruction on an older one.
ENV LIGHTFM_NO_CFLAGS=1
WORKDIR /srv/rectory
COPY requirements-bootstrap.lock requirements-server.lock ./
RUN python -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir --require-hashes -r requirements-bootstrap.lock \
    && .venv/bin/uv pip install --no-cache --compile-bytecode --python .venv/bin/python --require-hashes -r requirements-server.lock
COPY pyproject.toml README.md LICENSE requirements.lock params.yaml dvc.yaml prefect.toml .dvcignore ./
COPY .dvc/config .dvc/.gitignore .dvc/
COPY datasets datasets
COPY rectory rectory
COPY tasks tasks
COPY flows flows
COPY cli cli
RUN .venv/bin/uv pip install --no-cache --python .venv/bin/python --no-deps --editable . \
    && .venv/bin/python -m compileall -q rectory tasks flows cli

FROM python:3.11-slim-bookworm
# LightFM and LightGBM are built with OpenMP.
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 rectory
COPY --from=build --chown=rectory:rectory /srv/rectory /srv/rectory
WORKDIR /srv/rectory
# Volumes are mounted here, and take the owner that they find.
RUN mkdir -p .rectory .dvc/cache runs reports exports && chown rectory:rectory .rectory .dvc .dvc/cache runs reports exports
USER rectory
ENV PATH=/srv/rectory/.venv/bin:$PATH RECTORY_PROJECT=/srv/rectory PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 MLFLOW_DISABLE_TELEMETRY=true PREFECT_SERVER_ANALYTICS_ENABLED=false DVC_NO_ANALYTICS=1
ENTRYPOINT ["rectory"]
CMD ["up"]
