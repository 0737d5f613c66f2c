//! What the path of a log says of its source. Pure.
//!
//! The tags are those that Fluentd's `in_tail` gives, so that dashboards and filters made for it go on working: the
//! path with dots for slashes, after the seed's prefix `kubernetes.`. Which path: the link that the kubelet makes in
//! `/var/log/containers`, where the container's id, a part of its name, is known; else the file's own in `/var/log/pods`.
//! The host files of Kubernetes' Fluentd add-on have the tags that it chose for them one by one, `kubelet` for example; any
//! other file of the host gets the prefix `host.`.

use std::fmt::Write;

use naru_proto::frame::{Container, Source, Writer};

/// What Fluentd would tag the lines of a source with.
#[must_use]
pub fn tag(source: &Source, container_id: &str) -> String {
    match &source.writer {
        Writer::Container(c) if container_id.is_empty() => {
            let Container { namespace, pod, pod_uid, container, restart } = c;
            dotted(format!(
                "kubernetes/var/log/pods/{namespace}_{pod}_{pod_uid}/{container}/{restart}.log"
            ))
        }
        Writer::Container(Container { namespace, pod, container, .. }) => dotted(format!(
            "kubernetes/var/log/containers/{pod}_{namespace}_{container}-{container_id}.log"
        )),
        Writer::HostFile { path } => match add_on_tag(path) {
            Some(tag) => tag.to_owned(),
            None => dotted(format!("host/{path}")),
        },
    }
}

/// The files `<name>.log` that the add-on tags with their names, beneath `/var/log`.
const ADD_ON: [&str; 12] = [
    "startupscript",
    "docker",
    "etcd",
    "kubelet",
    "kube-proxy",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "rescheduler",
    "glbc",
    "cluster-autoscaler",
    "kube-apiserver-audit",
];

fn add_on_tag(path: &str) -> Option<&'static str> {
    let beneath = path.strip_prefix("/var/log/")?;
    if beneath == "salt/minion" {
        return Some("salt");
    }
    let name = beneath.strip_prefix("kubernetes/").unwrap_or(beneath).strip_suffix(".log")?;
    ADD_ON.into_iter().find(|tag| *tag == name)
}

/// A source's name, without its node: `namespace/pod/container/restart`, or the path of a host file.
#[must_use]
pub fn name(source: &Source) -> String {
    match &source.writer {
        Writer::Container(Container { namespace, pod, container, restart, .. }) => {
            let length = namespace.len() + pod.len() + container.len() + 13;
            let mut name = String::with_capacity(length);
            for part in [namespace, pod, container] {
                name.push_str(part);
                name.push('/');
            }
            // Writing to a string does not fail.
            let written = write!(name, "{restart}");
            debug_assert!(written.is_ok());
            name
        }
        Writer::HostFile { path } => path.clone(),
    }
}

/// Dots for slashes, one for several.
fn dotted(path: String) -> String {
    let mut tag = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' && c != '.' {
            tag.push(c);
        } else if !tag.ends_with('.') {
            tag.push('.');
        }
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(writer: Writer, container_id: &str, expected_tag: &str, expected_name: &str) {
        let source = Source { node: "node-1".into(), writer };
        assert_eq!(tag(&source, container_id), expected_tag);
        assert_eq!(name(&source), expected_name);
    }

    #[test]
    fn tags_are_those_of_fluentd() {
        let web = Writer::Container(Container {
            namespace: "shop".into(),
            pod: "web-0".into(),
            pod_uid: "1234".into(),
            container: "web".into(),
            restart: 2,
        });
        let named = "shop/web-0/web/2";
        check(
            web.clone(),
            "c0ffee",
            "kubernetes.var.log.containers.web-0_shop_web-c0ffee.log",
            named,
        );
        check(web, "", "kubernetes.var.log.pods.shop_web-0_1234.web.2.log", named);
        let host = |path: &str| Writer::HostFile { path: path.into() };
        check(host("/var/log/kubelet.log"), "", "kubelet", "/var/log/kubelet.log");
        check(host("/var/log/salt/minion"), "", "salt", "/var/log/salt/minion");
        let audit = "/var/log/kubernetes/kube-apiserver-audit.log";
        check(host(audit), "", "kube-apiserver-audit", audit);
        check(host("/srv/kubelet.log"), "", "host.srv.kubelet.log", "/srv/kubelet.log");
        check(host("/var//log/../x"), "", "host.var.log.x", "/var//log/../x");
    }
}
