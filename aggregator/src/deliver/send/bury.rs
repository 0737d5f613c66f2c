//! What the server will never take: a dead letter, durable before the document is settled.

use std::sync::Arc;

use super::{PAUSE_MAX, Sender, chance, lock, pause};
use crate::deliver::bury::{Burial, Refused};
use crate::deliver::entry::Token;
use crate::elasticsearch::bulk::Bulk;

impl Sender {
    pub(super) async fn bury_whole(&self, bulk: Bulk<Token>, reason: String) {
        let index = bulk.index();
        let name = self.name(index);
        let dead = bulk.into_items().map(|item| Refused::new(item, &name, reason.clone()));
        self.bury(dead.collect()).await;
        self.release(index);
    }

    /// Makes dead letters durable and settles them. While they cannot be kept, this bulk waits.
    pub(super) async fn bury(&self, dead: Vec<Refused>) {
        let burial = Arc::new(Burial::of(&dead));
        let count = burial.count();
        let mut tries = 0;
        loop {
            let (kept, chain) = (Arc::clone(&burial), self.letters.clone());
            let kept = tokio::task::spawn_blocking(move || kept.keep(&chain)).await;
            match kept {
                Ok(Ok(())) => break,
                Ok(Err(error)) => {
                    *lock(&self.unkept) = Some(format!("dead letters cannot be kept: {error}"));
                    self.say(None);
                }
                Err(died) if died.is_panic() => std::panic::resume_unwind(died.into_panic()),
                // The runtime ends, and this with it.
                Err(_) => {}
            }
            tries += 1;
            self.end();
            tokio::time::sleep(pause(tries, PAUSE_MAX, chance())).await;
            self.begin().await;
        }
        *lock(&self.unkept) = None;
        if let Some((index, reason)) = burial.example() {
            tracing::warn!(index, count, reason, "documents became dead letters");
        }
        self.metrics.count(0, 0, count);
        dead.into_iter().for_each(|refused| refused.token.settle());
    }
}
