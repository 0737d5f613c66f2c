//! What is in `deploy/` fits together and fits the programs: names, ports, paths, sizes, configurations.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use naru_integration::programs;
use serde_json::{Value, json};

/// The ports that the programs and every document about them name.
const GRPC: u64 = 7443;
const AGGREGATOR_HTTP: u64 = 7480;
const FORWARDER_HTTP: u64 = 7481;

/// What the queue leaves free of a volume of more than 20 GiB, and what dead letters may take by default.
const BESIDE_THE_QUEUE_GIB: u64 = 4 + 1;

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

fn documents(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(deploy("manifests").join(file)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Every object of every manifest.
fn objects() -> Vec<Value> {
    let names = ["namespace.yaml", "aggregator.yaml", "forwarder.yaml", "network-policy.yaml"];
    names.into_iter().flat_map(documents).collect()
}

fn object(kind: &str, name: &str) -> Value {
    let is_it = |object: &Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects().into_iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// A program as it is deployed.
struct Deployed {
    name: &'static str,
    workload: Value,
    /// Its only container.
    container: Value,
    /// Its configuration, as text and as values.
    text: String,
    config: Value,
}

impl Deployed {
    fn new(kind: &str, name: &'static str) -> Self {
        let workload = object(kind, name);
        let containers = workload["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        let [container] = &containers[..] else { panic!("{name} has not one container") };
        let container = container.clone();
        let config_map = object("ConfigMap", name);
        let file = format!("{}.yaml", name.trim_start_matches("naru-"));
        let text = text(&config_map["data"][&file]).to_owned();
        let config = serde_saphyr::from_str(&text).unwrap();
        Self { name, workload, container, text, config }
    }

    fn aggregator() -> Self {
        Self::new("StatefulSet", "naru-aggregator")
    }

    fn forwarder() -> Self {
        Self::new("DaemonSet", "naru-forwarder")
    }

    fn pod(&self) -> &Value {
        &self.workload["spec"]["template"]["spec"]
    }

    fn port(&self, name: &str) -> u64 {
        let port = by_name(&self.container["ports"], name);
        port.unwrap_or_else(|| panic!("{} has no port {name}", self.name))["containerPort"]
            .as_u64()
            .unwrap()
    }

    /// The mount that a path lies in.
    fn mount(&self, path: &str) -> &Value {
        let mounts = self.container["volumeMounts"].as_array().unwrap();
        let holds = |mount: &&Value| Path::new(path).starts_with(text(&mount["mountPath"]));
        let longest = |mount: &&Value| text(&mount["mountPath"]).len();
        let found = mounts.iter().filter(holds).max_by_key(longest);
        found.unwrap_or_else(|| panic!("{}: no volume for {path}", self.name))
    }

    /// The volume that a path lies in; None where a claim of the workload makes it.
    fn volume(&self, path: &str) -> Option<&Value> {
        by_name(&self.pod()["volumes"], text(&self.mount(path)["name"]))
    }

    /// That a path is a file of a secret or a configuration, and not one that is not mounted.
    fn assert_projected(&self, path: &str) {
        let volume = self.volume(path).unwrap_or_else(|| panic!("{path}"));
        let file = path.strip_prefix(text(&self.mount(path)["mountPath"])).unwrap();
        let file = file.trim_start_matches('/');
        if let Some(config_map) = volume["configMap"]["name"].as_str() {
            assert!(object("ConfigMap", config_map)["data"][file].is_string(), "{path}");
            return;
        }
        let items = volume["secret"]["items"].as_array().unwrap_or_else(|| panic!("{path}"));
        assert!(items.iter().any(|item| item["path"] == file), "{path} is not in {volume}");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn by_name<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|one| one["name"] == name)
}

fn port_of(address: &Value) -> u64 {
    text(address).rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Every absolute path in a configuration but those of log files.
fn paths(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) if text.starts_with('/') => vec![text],
        Value::Array(all) => all.iter().flat_map(paths).collect(),
        Value::Object(all) => all.values().flat_map(paths).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_kustomization_lists_what_there_is() {
    let kustomization = documents("kustomization.yaml").remove(0);
    let listed = &kustomization["resources"];
    assert_eq!(listed, &json!(["namespace.yaml", "aggregator.yaml", "forwarder.yaml"]));
    let mut files: Vec<String> = fs::read_dir(deploy("manifests"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let all = ["aggregator", "forwarder", "kustomization", "namespace", "network-policy"];
    assert_eq!(files, all.map(|name| format!("{name}.yaml")));
    let namespace = &kustomization["namespace"];
    for object in objects().iter().filter(|object| object["kind"] != "Namespace") {
        assert_eq!(&object["metadata"]["namespace"], namespace, "{}", object["metadata"]);
    }
    assert_eq!(&object("Namespace", "naru")["metadata"]["name"], namespace);
    for program in [Deployed::aggregator(), Deployed::forwarder()] {
        let image = format!("{}:{}", program.name, env!("CARGO_PKG_VERSION"));
        assert_eq!(program.container["image"], image);
        let renamed = by_name(&kustomization["images"], program.name).unwrap();
        assert_eq!(renamed["newTag"], env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn ports_and_probes_are_those_of_the_configuration() {
    let (aggregator, forwarder) = (Deployed::aggregator(), Deployed::forwarder());
    assert_eq!(aggregator.port("grpc"), GRPC);
    assert_eq!(port_of(&aggregator.config["listen"]["address"]), GRPC);
    let defaults = naru_forwarder::config::Config::parse(
        "defaults",
        "aggregator: {address: \"localhost:7443\"}",
        &|_| None,
    );
    assert_eq!(u64::from(defaults.unwrap().http.unwrap().port()), FORWARDER_HTTP);
    for (program, port) in [(&aggregator, AGGREGATOR_HTTP), (&forwarder, FORWARDER_HTTP)] {
        assert_eq!(program.port("http"), port, "{}", program.name);
        assert_eq!(port_of(&program.config["http"]), port, "{}", program.name);
        // The kubelet asks from outside of the pod.
        assert!(text(&program.config["http"]).starts_with("0.0.0.0:"), "{}", program.name);
        let template = &program.workload["spec"]["template"];
        assert_eq!(template["metadata"]["annotations"]["prometheus.io/port"], port.to_string());
        let probes = [
            ("startupProbe", "/healthz"),
            ("livenessProbe", "/healthz"),
            ("readinessProbe", "/readyz"),
        ];
        for (probe, path) in probes {
            let expected = json!({"path": path, "port": "http"});
            assert_eq!(program.container[probe]["httpGet"], expected, "{}", program.name);
        }
    }
}

#[test]
fn the_forwarder_finds_the_aggregator() {
    let (aggregator, forwarder) = (Deployed::aggregator(), Deployed::forwarder());
    let service = object("Service", "naru-aggregator-headless");
    let address = text(&forwarder.config["aggregator"]["address"]);
    let host = format!("naru-aggregator-headless.{}.svc", text(&service["metadata"]["namespace"]));
    assert_eq!(address, format!("{host}:{GRPC}"));
    assert_eq!(service["spec"]["clusterIP"], "None");
    let port = by_name(&service["spec"]["ports"], "grpc").unwrap();
    assert_eq!((port["port"].as_u64(), text(&port["targetPort"])), (Some(GRPC), "grpc"));
    assert_eq!(aggregator.workload["spec"]["serviceName"], "naru-aggregator-headless");
    // It is not ready while Elasticsearch is away, and has to be found then of all times.
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
    assert_eq!(aggregator.config["cluster"], forwarder.config["cluster"]);

    let labels = &aggregator.workload["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&service["spec"]["selector"], labels);
    let budget = object("PodDisruptionBudget", "naru-aggregator");
    assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);
    for program in [&aggregator, &forwarder] {
        let spec = &program.workload["spec"];
        let labels = &spec["template"]["metadata"]["labels"];
        assert_eq!(&spec["selector"]["matchLabels"], labels);
    }
    let policy = object("NetworkPolicy", "naru-aggregator");
    assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], labels);
    let intake = &policy["spec"]["ingress"][0];
    let forwarders = &forwarder.workload["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&intake["from"][0]["podSelector"]["matchLabels"], forwarders);
    assert_eq!(intake["ports"][0]["port"], "grpc");
}

#[test]
fn every_path_is_mounted() {
    for program in [Deployed::aggregator(), Deployed::forwarder()] {
        let arguments = program.container["args"].as_array().unwrap();
        let [run, config, file] = &arguments[..] else { panic!("{arguments:?}") };
        assert_eq!((text(run), text(config)), ("run", "--config"));
        program.assert_projected(text(file));
        let mut config = program.config.clone();
        let fields = config.as_object_mut().unwrap();
        let data = fields.remove("data_dir").unwrap();
        assert_eq!(program.mount(text(&data))["mountPath"], data, "{}", program.name);
        assert!(program.mount(text(&data))["readOnly"].is_null(), "{}", program.name);
        let logs = [fields.remove("containers"), fields.remove("files")];
        for log in logs.iter().flatten().flat_map(paths) {
            let mount = program.mount(log);
            assert_eq!(mount["readOnly"], true, "{log}");
            let host = &program.volume(log).unwrap()["hostPath"]["path"];
            assert_eq!(host, &mount["mountPath"], "{log}: documents name the path on the node");
        }
        let secrets = paths(&config);
        assert!(secrets.len() >= 2, "{secrets:?}");
        secrets.iter().for_each(|path| program.assert_projected(path));
    }
    let docker = Deployed::forwarder().mount("/var/lib/docker/containers/a").clone();
    assert_eq!(docker["readOnly"], true);
}

#[test]
fn the_volume_has_room_for_the_queue() {
    let aggregator = Deployed::aggregator();
    let [claim] = &aggregator.workload["spec"]["volumeClaimTemplates"].as_array().unwrap()[..]
    else {
        panic!("not one claim")
    };
    let data = text(&aggregator.config["data_dir"]);
    assert_eq!(claim["metadata"]["name"], aggregator.mount(data)["name"]);
    let number = |size: &Value, unit: &str| -> u64 {
        text(size).strip_suffix(unit).unwrap_or_else(|| panic!("{size}")).parse().unwrap()
    };
    let volume = number(&claim["spec"]["resources"]["requests"]["storage"], "Gi");
    let queue = number(&aggregator.config["queue"]["max_bytes"], "GiB");
    assert!(volume > queue + BESIDE_THE_QUEUE_GIB, "{volume} GiB for {queue}");
}

#[test]
fn nothing_may_do_more_than_it_has_to() {
    for program in [Deployed::aggregator(), Deployed::forwarder()] {
        let (pod, security) = (program.pod(), &program.container["securityContext"]);
        assert_eq!(pod["automountServiceAccountToken"], false, "{}", program.name);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(security["readOnlyRootFilesystem"], true, "{}", program.name);
        assert_eq!(security["allowPrivilegeEscalation"], false, "{}", program.name);
        assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{}", program.name);
        assert!(program.container["resources"]["limits"]["memory"].is_string());
        let account = object("ServiceAccount", text(&pod["serviceAccountName"]));
        assert_eq!(account["automountServiceAccountToken"], false);
    }
    assert_eq!(Deployed::aggregator().pod()["securityContext"]["runAsNonRoot"], true);
    let added = &Deployed::forwarder().container["securityContext"]["capabilities"]["add"];
    assert_eq!(added, &json!(["DAC_READ_SEARCH"]));
}

#[test]
fn images_hold_the_program_and_run_it_as_deployed() {
    for program in [Deployed::aggregator(), Deployed::forwarder()] {
        let short = program.name.trim_start_matches("naru-");
        let file = fs::read_to_string(deploy(&format!("images/{short}.Dockerfile"))).unwrap();
        let has = |line: &str| assert!(file.lines().any(|l| l == line), "{short}: no {line:?}");
        let name = program.name;
        has("FROM scratch");
        has(&format!("COPY --chmod=0755 dist/${{TARGETARCH}}/{name} /{name}"));
        has(&format!("ENTRYPOINT [\"/{name}\"]"));
        let arguments: Vec<String> =
            serde_json::from_value(program.container["args"].clone()).unwrap();
        has(&format!("CMD [\"{}\"]", arguments.join("\", \"")));
        let user = match short {
            "aggregator" => program.pod()["securityContext"]["runAsUser"].as_u64(),
            _ => program.container["securityContext"]["runAsUser"].as_u64(),
        };
        let user = user.unwrap();
        has(&format!("USER {user}:{user}"));
        let ports = program.container["ports"].as_array().unwrap();
        let ports: Vec<String> =
            ports.iter().map(|port| port["containerPort"].to_string()).collect();
        has(&format!("EXPOSE {}", ports.join(" ")));
    }
}

/// Where the manifests mount everything that configurations name.
const MOUNTED: &str = "/etc/naru/";

/// That `check` of the program says that its configuration is valid, once the secrets are there.
fn check_configuration(deployed: &Deployed, program: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let service = "naru-aggregator-headless.naru.svc".to_owned();
    let signed = rcgen::generate_simple_self_signed([service]).unwrap();
    let secrets = [
        ("tls/tls.crt", signed.cert.pem()),
        ("tls/tls.key", signed.signing_key.serialize_pem()),
        ("ca/ca.crt", signed.cert.pem()),
        ("token/token", "0123456789abcdef0123456789abcdef".to_owned()),
    ];
    for (name, content) in secrets {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let config = directory.path().join("config.yaml");
    let here = format!("{}/", directory.path().display());
    fs::write(&config, deployed.text.replace(MOUNTED, &here)).unwrap();
    let mut check = Command::new(program);
    check.args(["check", "--config"]).arg(&config).env("NODE_NAME", "node-1");
    let output = check.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {}: {said}", deployed.name, output.status);
}

#[test]
fn the_aggregator_takes_its_configuration() {
    check_configuration(&Deployed::aggregator(), programs::aggregator());
}

#[test]
fn the_forwarder_takes_its_configuration() {
    check_configuration(&Deployed::forwarder(), programs::forwarder());
}
