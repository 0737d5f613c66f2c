//! The checked-in bindings are what the .proto file compiles to. `UPDATE=1` rewrites them.

use std::path::Path;

#[test]
fn checked_in_bindings_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let descriptors = protox::compile(["naru/v1/ingest.proto"], [root]).unwrap();
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .bytes(".")
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .out_dir(out.path())
        .compile_fds(descriptors)
        .unwrap();
    let generated = std::fs::read_to_string(out.path().join("naru.v1.rs")).unwrap();
    let checked_in = root.join("src/gen/naru.v1.rs");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&checked_in, &generated).unwrap();
    }
    let current = std::fs::read_to_string(&checked_in).unwrap_or_default();
    assert!(current == generated, "src/gen/naru.v1.rs is not current: run with UPDATE=1");
}
