//! Log files of the host that are known by name: those that Kubernetes' Fluentd add-on tails.

/// A host file by name.
#[derive(Debug, PartialEq, Eq)]
pub struct Preset {
    /// What the configuration calls it, and the tag that Fluentd gave its lines.
    pub name: &'static str,
    /// Where it is, unless the configuration says otherwise.
    pub path: &'static str,
    /// The rule that joins its lines; None where every line is a record.
    pub multiline: Option<&'static str>,
}

const fn preset(name: &'static str, path: &'static str, multiline: Option<&'static str>) -> Preset {
    Preset { name, path, multiline }
}

/// All of them, in the order of the add-on's configuration; container logs, its first source, are `containers`.
pub const PRESETS: [Preset; 13] = [
    preset("salt", "/var/log/salt/minion", None),
    preset("startupscript", "/var/log/startupscript.log", None),
    preset("docker", "/var/log/docker.log", None),
    preset("etcd", "/var/log/etcd.log", None),
    preset("kubelet", "/var/log/kubelet.log", Some("klog")),
    preset("kube-proxy", "/var/log/kube-proxy.log", Some("klog")),
    preset("kube-apiserver", "/var/log/kube-apiserver.log", Some("klog")),
    preset("kube-controller-manager", "/var/log/kube-controller-manager.log", Some("klog")),
    preset("kube-scheduler", "/var/log/kube-scheduler.log", Some("klog")),
    preset("rescheduler", "/var/log/rescheduler.log", Some("klog")),
    preset("glbc", "/var/log/glbc.log", Some("klog")),
    preset("cluster-autoscaler", "/var/log/cluster-autoscaler.log", Some("klog")),
    preset("kube-apiserver-audit", "/var/log/kubernetes/kube-apiserver-audit.log", Some("audit")),
];

/// Those that a name stands for: one, or `all`.
///
/// # Errors
/// A sentence with the names that there are.
pub fn named(name: &str) -> Result<&'static [Preset], String> {
    if name == "all" {
        return Ok(&PRESETS);
    }
    let found = PRESETS.iter().find(|preset| preset.name == name).map(std::slice::from_ref);
    found.ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        format!("there is no preset {name:?}; there are all, {}", names.join(", "))
    })
}
