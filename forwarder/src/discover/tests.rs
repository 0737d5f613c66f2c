//! What is found, and what is left out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::*;

fn container(pod: &str) -> ContainerDirectory {
    ContainerDirectory { pod: pod.into(), container: "c".into() }
}

#[test]
fn b7_pods_are_found_through_a_linked_root_and_not_through_a_linked_pod() {
    let directory = tempfile::tempdir().unwrap();
    let (real, root) = (directory.path().join("real"), directory.path().join("pods"));
    std::fs::create_dir_all(real.join("ns_one_u1/c")).unwrap();
    symlink(&real, &root).unwrap();
    let mut discovery = Discovery::new(Some(root));
    discovery.reconcile();
    assert_eq!(discovery.changes().containers, [container("ns_one_u1")].into());
    std::fs::create_dir_all(real.join("ns_two_u2/c")).unwrap();
    std::fs::create_dir_all(directory.path().join("secret/c")).unwrap();
    symlink(directory.path().join("secret"), real.join("ns_evil_u3")).unwrap();
    assert_eq!(discovery.changes().containers, [container("ns_two_u2")].into());
    std::fs::remove_dir_all(real.join("ns_one_u1")).unwrap();
    assert_eq!(discovery.changes().containers, [container("ns_one_u1")].into(), "it is gone");
}

#[test]
fn b7_what_an_overflowed_queue_does_not_tell_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::fs::create_dir_all(root.join("ns_one_u1/c")).unwrap();
    let mut discovery = Discovery::new(Some(root.to_path_buf()));
    discovery.reconcile();
    discovery.changes();
    let queue = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let noise = root.join("ns_one_u1/c");
    for n in 0..=queue.trim().parse::<u32>().unwrap() {
        std::fs::File::create(noise.join(n.to_string())).unwrap();
    }
    std::fs::create_dir_all(root.join("ns_two_u2/c")).unwrap();
    assert!(discovery.changes().containers.contains(&container("ns_two_u2")));
    std::fs::create_dir_all(root.join("ns_three_u3/c")).unwrap();
    assert!(discovery.changes().containers.contains(&container("ns_three_u3")), "watched again");
}

#[test]
fn b8_forged_directories_are_left_out_and_reported_once() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let long = format!("ns_{}_u", "x".repeat(250));
    let forged: [&[u8]; 9] = [
        b"a_b",
        b"a_b_c_d",
        b"_b_c",
        b"a__c",
        b"a_b_",
        b"a_b\n\x1b[31m_c",
        b"a_b_\xff\xfe",
        b"..a_b c_d",
        b"none",
    ];
    for name in forged {
        std::fs::create_dir_all(root.join(OsStr::from_bytes(name)).join("c")).unwrap();
    }
    // A static pod's uid is a hash, and a name may be as long as a directory's.
    for name in ["kube-system_etcd-n1_0123456789abcdef0123456789abcdef", &long] {
        std::fs::create_dir_all(root.join(name).join("c")).unwrap();
        std::fs::create_dir_all(root.join(name).join("c\n\x1b[2J")).unwrap();
    }
    let mut discovery = Discovery::new(Some(root.to_path_buf()));
    discovery.reconcile();
    let expected = ["kube-system_etcd-n1_0123456789abcdef0123456789abcdef", &long].map(container);
    assert_eq!(discovery.changes().containers, expected.into());
    assert_eq!(discovery.refused.len(), forged.len() + 2);
    for n in 0..200 {
        std::fs::create_dir(root.join(format!("forged-{n}"))).unwrap();
    }
    discovery.reconcile();
    assert_eq!(discovery.refused.len(), REFUSED_MAX);
}

#[test]
fn b7_a_directory_that_was_gone_before_it_was_looked_into_is_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::fs::create_dir_all(root.join("ns_one_u1/c")).unwrap();
    let mut discovery = Discovery::new(Some(root.to_path_buf()));
    discovery.reconcile();
    assert_eq!(discovery.changes().missed, 0);
    std::fs::create_dir_all(root.join("ns_two_u2/c")).unwrap();
    std::fs::create_dir(root.join("ns_one_u1/d")).unwrap();
    std::fs::create_dir(root.join("forged")).unwrap();
    std::fs::File::create(root.join("ns_file_u2")).unwrap();
    std::fs::remove_file(root.join("ns_file_u2")).unwrap();
    std::fs::remove_dir(root.join("forged")).unwrap();
    std::fs::remove_dir_all(root.join("ns_two_u2")).unwrap();
    std::fs::remove_dir_all(root.join("ns_one_u1/d")).unwrap();
    let changes = discovery.changes();
    assert!(!changes.is_empty());
    assert_eq!(changes.missed, 2, "a pod and a container");
    // Found by a scan before the event of its making was read, and gone again.
    std::fs::create_dir_all(root.join("ns_three_u3/c")).unwrap();
    discovery.reconcile();
    std::fs::remove_dir_all(root.join("ns_three_u3")).unwrap();
    discovery.reconcile();
    std::fs::remove_dir_all(root.join("ns_one_u1")).unwrap();
    assert_eq!(discovery.changes().missed, 0);
    assert_eq!(discovery.changes().missed, 0);
}
