# docker build -t shoal .
# docker run --rm --network host -v "$PWD:/data" shoal get LINK
#
# On the host's network peers find each other by multicast; without it publish a port
# and name it: -p 4001:4001 … --port 4001. There is no HEALTHCHECK: what is healthy
# depends on the command, and a `get` is done when its target is there.
FROM python:3.13-slim AS build
COPY pyproject.toml README.md LICENSE /src/
COPY src /src/src
RUN python -m venv /opt/shoal
RUN /opt/shoal/bin/pip install --no-cache-dir "/src[fast,metrics,origin]"

FROM python:3.13-slim
COPY --from=build /opt/shoal /opt/shoal
RUN install -d -o 10001 -g 10001 /data
ENV PATH=/opt/shoal/bin:/usr/local/bin:/usr/bin:/bin
# Where the secret lies that keeps the links of shares the same, in .local.
ENV HOME=/data
# A number, so that Kubernetes knows that it is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data
ENTRYPOINT ["shoal"]
CMD ["--help"]
