# One image for api, worker and demo-provider. `docker compose up` starts all of them.
FROM python:3.11-slim AS build
RUN python -m venv /app
WORKDIR /src
# First what changes seldom: the lock.
COPY requirements/runtime.txt requirements/runtime.txt
RUN /app/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md ./
COPY tokentail tokentail
RUN /app/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tokentail
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
ENTRYPOINT ["tokentail"]
CMD ["--help"]
