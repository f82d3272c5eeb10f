# Switchyard's images. Targets:
#   cpu       (default) switchyard-server, the switchyard command, switchyard-import
#   trainer   switchyard-trainer with Open MPI, and an sshd that workers of an MPIJob run without root
# There is no GPU target: the server has no GPU backend. The two CUDA runtime libraries inside are there because libtorch_cpu.so is linked against
# them; they need neither a GPU nor a driver.
#
#   docker build --tag switchyard:dev .
#   docker build --target trainer --tag switchyard-trainer:dev .
# tools/check_dockerfile runs every step below in plain directories where there is no container engine.
ARG DEBIAN=debian:12-slim

FROM ${DEBIAN} AS build
WORKDIR /src
ENV SWITCHYARD_BUILD_ONLY=1
# What changes seldom first: compiler, libraries and LibTorch stay cached while only sources change.
COPY tools/setup tools/versions.env tools/python_environments tools/
RUN tools/setup
COPY . .
ARG SWITCHYARD_JOBS
RUN --mount=type=cache,target=/root/.cache/switchyard/ccache,sharing=locked \
    tools/build switchyard-server switchyard-client-main switchyard-import switchyard-trainer
RUN tools/stage_image /stage

FROM ${DEBIAN} AS runtime
# Packages are not pinned: a rebuild is how Debian's security fixes come in.
# hadolint ignore=DL3008,SC1091,SC2086
RUN --mount=type=bind,source=tools/versions.env,target=/tmp/versions.env \
    . /tmp/versions.env \
    && apt-get update \
    && apt-get install -y --no-install-recommends $APT_RUNTIME \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/lib/dpkg/*-old \
    && groupadd --gid 10001 switchyard \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin switchyard
COPY --from=build /stage/lib /opt/switchyard/lib
RUN echo /opt/switchyard/lib/torch/lib >/etc/ld.so.conf.d/switchyard.conf && ldconfig
# libgomp's default spinning stalls each parallel region as soon as another thread wants a core.
ENV GOMP_SPINCOUNT=0

FROM runtime AS trainer
# hadolint ignore=DL3008,SC1091,SC2086
RUN --mount=type=bind,source=tools/versions.env,target=/tmp/versions.env \
    . /tmp/versions.env \
    && apt-get update \
    && apt-get install -y --no-install-recommends $APT_TRAINER_RUNTIME \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_* /var/cache/debconf/*-old /var/lib/dpkg/*-old \
    && usermod --shell /bin/sh switchyard
# The keys come from the MPI operator, one pair a job: there is nothing to compare a host key with.
COPY tools/image/ssh_config /etc/ssh/ssh_config.d/mpi.conf
COPY tools/image/sshd_config /etc/switchyard/sshd_config
COPY --from=build /stage/bin/switchyard-trainer /stage/bin/switchyard-import /usr/local/bin/
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="switchyard-trainer" \
      org.opencontainers.image.description="Trains LoRA experts and routers for switchyard-server" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
WORKDIR /
ENTRYPOINT ["switchyard-trainer"]
CMD ["--help"]

FROM runtime AS cpu
COPY --from=build /stage/bin/switchyard-server /stage/bin/switchyard /stage/bin/switchyard-import /usr/local/bin/
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="switchyard-server" \
      org.opencontainers.image.description="Serves one language model as a mixture of LoRA experts over gRPC" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
WORKDIR /
EXPOSE 8500 8501 8503
STOPSIGNAL SIGTERM
# For plain containers; Kubernetes has its own probes. The HTTP port answers whatever TLS and tokens say; reading weights may take minutes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8501 && printf 'GET /livez HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '^ok' <&3"]
ENTRYPOINT ["switchyard-server"]
CMD ["--config", "/etc/switchyard/config.json"]
