//! The keys of the file: what each is called, what it means, and what holds when it is left out.
//!
//! Nothing is checked here beyond the shape. Values keep the line they were read from. The reference in
//! `docs/configuration.md` is generated from this table.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_saphyr::Spanned;

/// A scalar as it is written.
pub(super) type Text = Spanned<String>;

/// A key for the reference.
#[cfg(test)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) value: Value,
}

/// What stands at a key.
#[cfg(test)]
pub(super) enum Value {
    /// What holds when it is left out.
    Default(&'static str),
    /// It has to be there.
    Required,
    /// Nothing when it is left out.
    Unset,
    /// More keys.
    Section(&'static [Key]),
}

macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        $name:ident {
            $( $(#[doc = $help:literal])+ $key:ident: $type:ty = $value:ident $(($shown:expr))?; )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $( $(#[doc = $help])+ pub(super) $key: Option<$type>, )+
        }

        #[cfg(test)]
        impl $name {
            pub(super) const KEYS: &'static [Key] = &[
                $( Key {
                    name: stringify!($key),
                    help: concat!($($help),+),
                    value: Value::$value $(($shown))?,
                }, )+
            ];
        }
    };
}

section! {
    /// What the file says.
    RawConfig {
        /// The cluster's name, the forwarders' too. It is part of every document's id: never change it.
        cluster: Text = Default("default");
        /// Where the queue and the dead letters are kept, on a disk that lasts: what is acknowledged lies here until it is
        /// delivered.
        data_dir: Text = Default("/var/lib/naru-aggregator");
        /// Where forwarders connect.
        listen: Spanned<RawListen> = Section(RawListen::KEYS);
        /// How forwarders say who they are.
        forwarders: Spanned<RawForwarders> = Section(RawForwarders::KEYS);
        /// What waits for delivery.
        queue: Spanned<RawQueue> = Section(RawQueue::KEYS);
        /// Records that Elasticsearch can never take, with the reason.
        dead_letters: Spanned<RawDeadLetters> = Section(RawDeadLetters::KEYS);
        /// Where documents go.
        elasticsearch: Spanned<RawElasticsearch> = Section(RawElasticsearch::KEYS);
        /// `ip:port` where probes, metrics and, on loopback only, search are served.
        http: Text = Default("127.0.0.1:7480");
        /// What is logged to standard error.
        log: Spanned<RawLog> = Section(RawLog::KEYS);
    }
}

section! {
    /// Where forwarders connect.
    RawListen {
        /// `ip:port` for forwarders.
        address: Text = Default("0.0.0.0:7443");
        /// Encrypts. Needed unless the address is loopback or `plaintext` is set.
        tls: Spanned<RawTls> = Section(RawTls::KEYS);
        /// Allows log lines and tokens to cross a network unencrypted, and `authentication: none` on any address.
        plaintext: Spanned<bool> = Default("false");
    }
}

section! {
    /// A certificate and its key.
    RawTls {
        /// A file with the certificate and its chain, PEM; read again when it changes.
        certificate: Text = Required;
        /// A file with its private key, PEM; read again when it changes.
        key: Text = Required;
    }
}

section! {
    /// How forwarders say who they are.
    RawForwarders {
        /// `token`: all present the same secret. `certificate`: each has a certificate of its own, which names its node.
        /// `none`: anybody may send; on loopback, or with `listen.plaintext`.
        authentication: Text = Default("token");
        /// A file with the secret, for `token`; read again when it changes.
        token: Text = Unset;
        /// A file with the authority that signs the forwarders' certificates, PEM, for `certificate`.
        ca: Text = Unset;
        /// What forwarders are told not to read, a list: each item has a `namespace`, and perhaps a `pod` and a `container`;
        /// names, not patterns. Files of these are not even opened. Forwarders hear it when they connect, so when the
        /// aggregators were restarted with it.
        exclude: Vec<Spanned<RawExclude>> = Unset;
    }
}

/// Containers that are not read.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExclude {
    /// Of the pods.
    pub(super) namespace: Option<Text>,
    /// Left out: every pod of the namespace.
    pub(super) pod: Option<Text>,
    /// Left out: every container of the pod.
    pub(super) container: Option<Text>,
}

section! {
    /// What waits for delivery.
    RawQueue {
        /// What the queue may take of the disk; from there on forwarders keep their lines. At least 64MiB.
        max_bytes: Text = Default("20GiB");
        /// What is kept of what was delivered, so that `queue replay` can deliver it again after an index was lost.
        retain: Spanned<RawRetain> = Section(RawRetain::KEYS);
        /// Documents whose index takes nothing (blocked, closed, no shard left, not allowed), beside the queue.
        parked: Spanned<RawParked> = Section(RawParked::KEYS);
    }
}

section! {
    /// What is kept of what was delivered.
    RawRetain {
        /// What it may take of the disk, within `queue.max_bytes`: it gives way to what waits for delivery, the oldest first.
        /// `0`: nothing is kept, and what was kept is deleted at the next start.
        bytes: Text = Default("0");
        /// How long it is kept at most, from when it was queued; left out: as long as its bytes allow.
        age: Text = Unset;
    }
}

section! {
    /// Documents whose index takes nothing.
    RawParked {
        /// What they may take of the disk in all; from there on they wait in the queue, and others with them. At least
        /// 64MiB. An index of 5,000 lines a second stores about 1 GiB an hour.
        max_bytes: Text = Default("4GiB");
        /// What those of one index may take of it.
        index_max_bytes: Text = Default("2GiB");
        /// How long they wait in memory before; sooner when others wait for that.
        after: Text = Default("30s");
    }
}

section! {
    /// Records that can never be indexed.
    RawDeadLetters {
        /// What they may take of the disk; when it is full, delivery stops until somebody looks at them. At least 1MiB.
        max_bytes: Text = Default("1GiB");
        /// Letters that were last tried so long ago are deleted, at least 1m, with a WARN; left out: none is.
        age: Text = Unset;
    }
}

section! {
    /// Where documents go.
    RawElasticsearch {
        /// URLs of Elasticsearch or OpenSearch, `http://` or `https://`, with a path prefix if there is one; requests go to
        /// those in turn that answer.
        hosts: Vec<Text> = Required;
        /// How indices are named: by month (`%Y.%m`), day (`%Y.%m.%d`) or hour (`%Y.%m.%d.%H`) of the line's time in UTC, with
        /// any or no signs between the numbers, and perhaps by `{namespace}`. Changing it while lines wait may index those
        /// that are sent again twice: an id is unique within one index.
        index: Text = Default("logstash-%Y.%m.%d");
        /// Namespaces that get indices of their own with `{namespace}` in `index`, the first that come, 1 to 1000; those of
        /// all others go to one called `_overflow`, and files of the host to `_host`. Each index costs the cluster a shard or
        /// more.
        max_namespaces: Text = Default("100");
        /// The name to log in with; needs `password_file`.
        user: Text = Unset;
        /// A file with the password; read again when it changes, as all of these files are.
        password_file: Text = Unset;
        /// A file with an API key as Elasticsearch encodes it, instead of `user`.
        api_key_file: Text = Unset;
        /// A file with a bearer token, of a service account for example, instead of `user`.
        token_file: Text = Unset;
        /// A file with a client certificate and its chain, PEM, for `https://`; alone or beside one of the others.
        certificate: Text = Unset;
        /// A file with the client certificate's private key, PEM.
        key: Text = Unset;
        /// A file with certificates to trust instead of the system's, PEM, for `https://`.
        ca: Text = Unset;
        /// The size of a bulk request, 1MiB to 64MiB.
        bulk_bytes: Text = Default("8MiB");
        /// Bulk requests in flight at most, 1 to 32.
        concurrency: Text = Default("4");
        /// Compresses bulk requests, which costs more CPU than all the rest: `on`, `off`, or `auto`: unless the addresses of all
        /// hosts are loopback, link-local or private ones (10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7), as those in a
        /// cluster are. They are looked up at the start and after each outage.
        gzip: Text = Default("auto");
        /// How long one request may take, 1s to 10m. After that its documents are sent again.
        request_timeout: Text = Default("60s");
        /// The index template that is put at the start and after each outage: `on` is Naru's, `{file: FILE}` your own as JSON,
        /// composable or legacy, under the name `naru`; `off` when somebody else manages it.
        template: Spanned<RawTemplate> = Default("on");
    }
}

/// A word, or the file of one's own.
#[derive(Debug)]
pub(super) enum RawTemplate {
    /// `on` or `off`, if it is right.
    Word(String),
    /// Its path.
    File(Text),
}

impl Default for RawTemplate {
    fn default() -> Self {
        Self::Word("on".to_owned())
    }
}

impl<'de> Deserialize<'de> for RawTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TemplateVisitor)
    }
}

struct TemplateVisitor;

impl<'de> Visitor<'de> for TemplateVisitor {
    type Value = RawTemplate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("on, off or {file: FILE}")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(RawTemplate::Word(if value { "on" } else { "off" }.to_owned()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(RawTemplate::Word(value.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut file = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "file" if file.is_none() => file = Some(map.next_value()?),
                "file" => return Err(de::Error::duplicate_field("file")),
                other => return Err(de::Error::unknown_field(other, &["file"])),
            }
        }
        file.map(RawTemplate::File).ok_or_else(|| de::Error::missing_field("file"))
    }
}

section! {
    /// What is logged.
    RawLog {
        /// `text` or `json`, one line an event.
        format: Text = Default("text");
    }
}
