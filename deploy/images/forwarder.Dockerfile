# The forwarder: one static binary and nothing else. docs/deploy.md says how it is built and put into dist/.
FROM scratch
ARG TARGETARCH
COPY --chmod=0755 dist/${TARGETARCH}/naru-forwarder /naru-forwarder
# Log files belong to root; the manifest takes every capability away but reading.
USER 0:0
EXPOSE 7481
ENTRYPOINT ["/naru-forwarder"]
CMD ["run", "--config", "/etc/naru/config/forwarder.yaml"]
