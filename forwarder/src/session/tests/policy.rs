//! The aggregator's policy passes the session.

use super::*;

#[tokio::test(start_paused = true)]
async fn b19_a_policy_is_asked_for_and_passed_on() {
    let mut played = play();
    let mut stream = played.streams.recv().await.unwrap();
    let Some(client_message::Kind::Hello(hello)) = stream.hear().await else { panic!("no Hello") };
    assert_eq!(hello.capabilities, ["policy"]);
    stream.say(server_message::Kind::Welcome(Welcome::default())).await;
    let policy = wire::Policy { generation: 7, ..wire::Policy::default() };
    stream.say(server_message::Kind::Policy(policy.clone())).await;
    played.tail.policy.changed().await.unwrap();
    assert_eq!(*played.tail.policy.borrow_and_update(), Some(policy));
    played.session.abort();
}
