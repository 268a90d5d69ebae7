# The dashboard and TensorBoard, without PyTorch or TensorFlow: training happens elsewhere.

FROM python:3.11-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    pip install --no-cache-dir --constraint /constraints.txt \
        "$(echo /wheels/trackside-*.whl)[dashboard,postgres,tensorboard]"

# The only place that may be written is /tmp: the containers run with a read-only root.
ENV PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib
RUN useradd --system --no-create-home --home-dir /tmp --shell /usr/sbin/nologin trackside \
    && mkdir /logs && chown trackside /logs
USER trackside
WORKDIR /tmp

EXPOSE 8050 6006
CMD ["trackside", "dashboard", "--host", "0.0.0.0", "--port", "8050"]
HEALTHCHECK --interval=30s --timeout=5s --retries=3 --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(web.Request('http://127.0.0.1:8050/', headers={'Authorization': 'Bearer ' + os.environ['TRACKSIDE_TOKEN']}), timeout=3)"]
