//! What a broker is told: `server.properties` of one node that is broker and controller.

use std::fmt::Write;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{io, iter, process};

use super::Options;

/// Settings of every broker: small, alone, and quick to start and to form groups.
const ALWAYS: &str = "\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
listener.security.protocol.map=PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
# The default takes a quarter of the heap.
log.cleaner.dedupe.buffer.size=10485760
num.network.threads=2
num.io.threads=2
# After SIGKILL the controller lets the broker in again when the session of its former life has
# ended; by default that is 9 s. The short interval makes a first start quicker, too.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=250
";

/// Ports of a broker's listeners: they stay the same when it starts again.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) controller: u16,
    pub(super) sasl: u16,
    pub(super) tls: u16,
}

impl Ports {
    /// Four ports on which nobody listens, and that this process has not given out before: those of a
    /// broker that is down stay its own.
    ///
    /// They lie below those that the system gives to outgoing connections (32768 and up on Linux):
    /// while a broker is down, its port must not become the near end of somebody's connection, nor a
    /// client that tries to reach it connect to itself.
    pub(super) fn free() -> io::Result<Ports> {
        const FIRST: u32 = 20_000;
        const COUNT: u32 = 12_000;
        // Processes that run side by side look in different places: room for 16 brokers in each.
        const A_PROCESS: u32 = 64;
        static GIVEN_OUT: AtomicU32 = AtomicU32::new(0);
        let start = process::id().wrapping_mul(A_PROCESS) % COUNT;
        let place = || (start + GIVEN_OUT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let ports = iter::repeat_with(|| FIRST + place()).take(COUNT as usize);
        let mut free = ports.filter_map(|port| TcpListener::bind(("127.0.0.1", port as u16)).ok());
        // All are held until all are found.
        let found = [free.next(), free.next(), free.next(), free.next()];
        let port = |held: &Option<TcpListener>| match held {
            Some(held) => Ok(held.local_addr()?.port()),
            None => Err(io::Error::from(io::ErrorKind::AddrInUse)),
        };
        let [plain, controller, sasl, tls] = &found;
        Ok(Ports { plain: port(plain)?, controller: port(controller)?, sasl: port(sasl)?, tls: port(tls)? })
    }
}

/// The text of `server.properties` for a broker whose files are in `folder`.
pub(super) fn properties(options: &Options, ports: &Ports, folder: &Path) -> String {
    let mut text = ALWAYS.to_owned();
    let mut add = |name: &str, value: &str| writeln!(text, "{name}={value}").expect("writing to memory");
    let mut listeners = format!("PLAIN://127.0.0.1:{}", ports.plain);
    if !options.users.is_empty() {
        write!(listeners, ",SASL://127.0.0.1:{}", ports.sasl).expect("writing to memory");
    }
    if options.is_tls() {
        write!(listeners, ",TLS://127.0.0.1:{}", ports.tls).expect("writing to memory");
    }
    add("advertised.listeners", &listeners);
    add("listeners", &format!("{listeners},CONTROLLER://127.0.0.1:{}", ports.controller));
    add("controller.quorum.voters", &format!("1@127.0.0.1:{}", ports.controller));
    add("log.dirs", &folder.join("data").display().to_string());
    if !options.users.is_empty() {
        let module = "org.apache.kafka.common.security";
        let users: String =
            options.users.iter().map(|(name, password)| format!(" user_{name}=\"{password}\"")).collect();
        let plain = format!("{module}.plain.PlainLoginModule required{users};");
        let scram = format!("{module}.scram.ScramLoginModule required;");
        add("listener.name.sasl.sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512");
        add("listener.name.sasl.plain.sasl.jaas.config", &plain);
        add("listener.name.sasl.scram-sha-256.sasl.jaas.config", &scram);
        add("listener.name.sasl.scram-sha-512.sasl.jaas.config", &scram);
    }
    if options.is_tls() {
        for (store, file) in [("keystore", "server.pem"), ("truststore", "ca.pem")] {
            add(&format!("listener.name.tls.ssl.{store}.type"), "PEM");
            add(&format!("listener.name.tls.ssl.{store}.location"), &folder.join(file).display().to_string());
        }
        add("listener.name.tls.ssl.client.auth", "required");
    }
    // Last, so that they win.
    options.properties.iter().for_each(|(name, value)| add(name, value));
    text
}
