//! forwarder
fn main() {}
