# `clipsep serve` in a container: docker build -t clipsep . && docker run --rm -p 127.0.0.1:7860:7860 clipsep
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src ./src
COPY examples ./examples
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt ".[serve]"

FROM python:3.12-slim
RUN useradd --create-home --uid 1000 clipsep
COPY --from=build /venv /venv
# by number, so that Kubernetes can check that it is not root
USER 1000
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=4)"]
# Inside a container every address is the container's own; what is published decides who gets in.
CMD ["clipsep", "serve", "--host", "0.0.0.0"]
