# The aggregator: one static binary and nothing else. docs/deploy.md says how it is built and put into dist/.
FROM scratch
ARG TARGETARCH
COPY --chmod=0755 dist/${TARGETARCH}/naru-aggregator /naru-aggregator
USER 65532:65532
EXPOSE 7443 7480
ENTRYPOINT ["/naru-aggregator"]
CMD ["run", "--config", "/etc/naru/config/aggregator.yaml"]
