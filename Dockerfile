# docker build -t shoal .
# docker run --rm --network host -v "$PWD:/data" shoal get LINK
#
# On the host's network, peers find each other by multicast. On any other network, publish a
# port and use it: -p 4001:4001 … --port 4001. There is no HEALTHCHECK, because the condition
# depends on the command: a `get` is complete when its target exists.
FROM python:3.13-slim AS build
COPY pyproject.toml README.md LICENSE /src/
COPY src /src/src
RUN python -m venv /opt/shoal
RUN /opt/shoal/bin/pip install --no-cache-dir "/src[fast,metrics,origin]"

FROM python:3.13-slim
COPY --from=build /opt/shoal /opt/shoal
RUN install -d -o 10001 -g 10001 /data
ENV PATH=/opt/shoal/bin:/usr/local/bin:/usr/bin:/bin
# Contains .local, with the secret from which links are computed: without it, links change.
ENV HOME=/data
# A number, so that Kubernetes can check that the user is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data
ENTRYPOINT ["shoal"]
CMD ["--help"]
