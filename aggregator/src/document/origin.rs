//! The part of a document that all records of a frame share: where they come from. Pure.
//!
//! `tag`; `docker.container_id`, where known; `kubernetes.{namespace_name,pod_name,pod_id,container_name,host}` for
//! containers; `naru.{node,source,file}`.

use naru_proto::frame::{Container, Source, Writer};

use super::escape::push_string;
use crate::enrich::path;

/// Appends the members from the comma before `tag` to the opening quote of `naru.file`, whose object stays open.
pub(super) fn push(out: &mut Vec<u8>, source: &Source, container_id: &str) {
    out.extend_from_slice(b",\"tag\":");
    push_string(out, &path::tag(source, container_id));
    if !container_id.is_empty() {
        out.extend_from_slice(b",\"docker\":{\"container_id\":");
        push_string(out, container_id);
        out.push(b'}');
    }
    if let Writer::Container(container) = &source.writer {
        push_kubernetes(out, container, &source.node);
    }
    out.extend_from_slice(b",\"naru\":{\"node\":");
    push_string(out, &source.node);
    out.extend_from_slice(b",\"source\":");
    push_string(out, &path::name(source));
    out.extend_from_slice(b",\"file\":\"");
}

fn push_kubernetes(out: &mut Vec<u8>, container: &Container, node: &str) {
    out.extend_from_slice(b",\"kubernetes\":{\"namespace_name\":");
    push_string(out, &container.namespace);
    out.extend_from_slice(b",\"pod_name\":");
    push_string(out, &container.pod);
    out.extend_from_slice(b",\"pod_id\":");
    push_string(out, &container.pod_uid);
    out.extend_from_slice(b",\"container_name\":");
    push_string(out, &container.container);
    out.extend_from_slice(b",\"host\":");
    push_string(out, node);
    out.push(b'}');
}
