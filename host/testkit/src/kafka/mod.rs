//! A real Apache Kafka for tests: one node on 127.0.0.1, with its data in a temporary folder.
//!
//! `cargo xtask kafka --fetch` puts Kafka into the cache ([`install`]). Where it is missing, tests
//! that need a broker are ignored, which libtest says; the build scripts of their crates set
//! `cfg(kafka)` where it is there:
//!
//! ```text
//! #[test]
//! #[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
//! fn what_is_produced_is_consumed() {
//!     let brokers = sluice_testkit::kafka::Broker::shared().unwrap();
//! ```

#[cfg(feature = "tls")]
mod certificates;
pub mod install;
mod process;
mod properties;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs, io, mem};

use tempfile::TempDir;

use self::process::{Process, StartError};
use self::properties::Ports;

#[cfg(feature = "tls")]
pub use self::certificates::Certificates;

/// Names a broker that is there already, as `HOST:PORT`: [`Broker::shared`] hands it out instead of
/// starting one. `cargo xtask test` and `cargo xtask kafka -- COMMAND` set it.
pub const BROKERS_VARIABLE: &str = "SLUICE_TEST_BROKERS";

/// Any will do; `StorageTool random-uuid` gives such ones.
const CLUSTER_ID: &str = "c2x1aWNlLXRlc3Qta2Fma2E";

/// Starts before a taken port is given up on.
const STARTS: usize = 3;

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaError {
    /// Kafka needs Java 17 or newer.
    #[error("there is no `java` in $JAVA_HOME or on the path: apt-get install -y openjdk-17-jre-headless")]
    NoJava,
    /// The jars are not in the cache.
    #[error("Apache Kafka is not in {}: `cargo xtask kafka --fetch` puts it there", folder.display())]
    NotFetched {
        /// Where it would be.
        folder: PathBuf,
    },
    /// A file, port or program was refused by the machine.
    #[error("could not {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The machine's answer.
        source: io::Error,
    },
    /// Kafka ended where it should have gone on, or took too long.
    #[error("the broker {what}; it printed last:\n{log}")]
    Failed {
        /// What it did instead.
        what: &'static str,
        /// The last lines of its output.
        log: String,
    },
    /// The certificates of the TLS listener could not be made.
    #[cfg(feature = "tls")]
    #[error("could not make certificates")]
    Certificates {
        /// What is wrong with them.
        source: rcgen::Error,
    },
}

/// What a broker has beside its plain listener.
#[derive(Clone, Debug, Default)]
pub struct Options {
    users: Vec<(String, String)>,
    #[cfg(feature = "tls")]
    tls: bool,
    port: Option<u16>,
    properties: Vec<(String, String)>,
    java: Vec<String>,
}

impl Options {
    /// Lets a user in on the SASL listener (without TLS), which there is if there are users: with PLAIN,
    /// SCRAM-SHA-256 and SCRAM-SHA-512. Name and password consist of letters, digits, `-` and `_`.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Options {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// Adds a TLS listener, which wants a certificate of its clients ([`Broker::certificates`]).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self) -> Options {
        self.tls = true;
        self
    }

    /// Puts the plain listener on this port of 127.0.0.1, instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Options {
        self.port = Some(port);
        self
    }

    /// Sets a property of the broker (`server.properties`), over what it would have.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Options {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds an option of the Java virtual machine that the broker runs in.
    #[must_use]
    pub fn java(mut self, option: &str) -> Options {
        self.java.push(option.to_owned());
        self
    }

    fn is_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls;
        #[cfg(not(feature = "tls"))]
        false
    }
}

/// A broker of one's own, to stop, kill and start again. Topics are not created by themselves.
///
/// Dropped, it is killed and its data removed; the same happens when the process ends, however that ends.
#[derive(Debug)]
pub struct Broker {
    /// `None` while it is stopped. Before `folder`, so that it is dropped first.
    process: Option<Process>,
    options: Options,
    brokers: String,
    sasl_brokers: String,
    tls_brokers: String,
    #[cfg(feature = "tls")]
    certificates: Option<Certificates>,
    folder: TempDir,
}

impl Broker {
    /// Starts a broker and returns when it takes connections: after a second where Kafka has been fetched
    /// with its archive of classes, more on a loaded machine.
    ///
    /// # Errors
    /// If Java or Kafka is missing, or it does not start, with what it printed last.
    pub fn start(options: Options) -> Result<Broker, KafkaError> {
        let mut start = 1;
        loop {
            let started = Broker::new(options.clone()).and_then(|mut broker| {
                broker.format()?;
                broker.restart()?;
                Ok(broker)
            });
            match started {
                // Another process took a port after it was found to be free.
                Err(KafkaError::Failed { log, .. }) if start < STARTS && log.contains("already in use") => start += 1,
                other => return other,
            }
        }
    }

    /// `HOST:PORT` of one broker for the whole test process: that of `$SLUICE_TEST_BROKERS`, or one
    /// that is started now and ends with the process.
    ///
    /// Tests share it: each uses topics, groups and transactional ids with names of its own.
    ///
    /// # Errors
    /// As [`start`](Self::start), the same for every caller.
    pub fn shared() -> Result<&'static str, &'static KafkaError> {
        static SHARED: OnceLock<Result<String, KafkaError>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            if let Some(brokers) = env::var(BROKERS_VARIABLE).ok().filter(|brokers| !brokers.is_empty()) {
                return Ok(brokers);
            }
            let broker = Broker::start(Options::default())?;
            let brokers = broker.brokers().to_owned();
            // Statics are not dropped; the watchdog ends it when the process is gone.
            mem::forget(broker);
            Ok(brokers)
        });
        shared.as_ref().map(String::as_str)
    }

    fn new(options: Options) -> Result<Broker, KafkaError> {
        let folder = tempfile::Builder::new().prefix("sluice-kafka-").tempdir();
        let folder = folder.map_err(|source| KafkaError::Io { what: "make a temporary folder", source })?;
        let mut ports = Ports::free().map_err(|source| KafkaError::Io { what: "find free ports", source })?;
        ports.plain = options.port.unwrap_or(ports.plain);
        let text = properties::properties(&options, &ports, folder.path());
        fs::write(folder.path().join("server.properties"), text)
            .map_err(|source| KafkaError::Io { what: "write server.properties", source })?;
        let brokers = |port: u16| format!("127.0.0.1:{port}");
        Ok(Broker {
            process: None,
            brokers: brokers(ports.plain),
            sasl_brokers: brokers(ports.sasl),
            tls_brokers: brokers(ports.tls),
            #[cfg(feature = "tls")]
            certificates: if options.tls { Some(certificates::write(folder.path())?) } else { None },
            options,
            folder,
        })
    }

    /// `HOST:PORT` of the plain listener.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// `HOST:PORT` of the SASL listener (`security.protocol=SASL_PLAINTEXT`).
    ///
    /// # Panics
    /// If the options have no user.
    #[must_use]
    pub fn sasl_brokers(&self) -> &str {
        assert!(!self.options.users.is_empty(), "the broker was started without a user");
        &self.sasl_brokers
    }

    /// `HOST:PORT` of the TLS listener (`security.protocol=SSL`).
    ///
    /// # Panics
    /// If the options have no TLS.
    #[must_use]
    pub fn tls_brokers(&self) -> &str {
        assert!(self.options.is_tls(), "the broker was started without TLS");
        &self.tls_brokers
    }

    /// What a client of the TLS listener needs.
    ///
    /// # Panics
    /// If the options have no TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("the broker was started with TLS")
    }

    /// Stops it in order (SIGTERM) and waits for that. Its data is kept for [`restart`](Self::restart).
    ///
    /// # Errors
    /// If it had to be killed after half a minute.
    pub fn stop(&mut self) -> Result<(), KafkaError> {
        match self.process.take().map(Process::stop) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(log)) => Err(KafkaError::Failed { what: "did not stop and was killed", log }),
        }
    }

    /// Kills it (SIGKILL). Its data is kept for [`restart`](Self::restart), as it is at that moment.
    pub fn kill(&mut self) {
        self.process.take().map(Process::kill).unwrap_or_default();
    }

    /// Starts it again on the same ports with the same data; kills it first if it runs. After a kill it
    /// takes three seconds more, until the controller gives up on the broker's former life.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), KafkaError> {
        self.kill();
        let mut java = self.java()?;
        java.args(&self.options.java)
            .args(["-Xmx512m", "kafka.Kafka"])
            .arg(self.folder.path().join("server.properties"));
        let started = Process::start(&mut java, self.folder.path());
        self.process = Some(started.map_err(|error| match error {
            StartError::Io(source) => KafkaError::Io { what: "run java", source },
            StartError::Failed { is_late: true, log } => KafkaError::Failed { what: "did not start in time", log },
            StartError::Failed { log, .. } => KafkaError::Failed { what: "ended instead of starting", log },
        })?);
        Ok(())
    }

    /// Waits until the broker ends by itself, and returns what it printed last.
    pub fn wait(&mut self) -> String {
        self.process.take().map(Process::wait).unwrap_or_default()
    }

    /// Makes the data folder, with the users' SCRAM credentials in it.
    fn format(&self) -> Result<(), KafkaError> {
        let mut java = self.java()?;
        java.args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"]);
        java.arg(self.folder.path().join("server.properties"));
        for (name, password) in &self.options.users {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                java.args(["--add-scram", &format!("{mechanism}=[name={name},password={password}]")]);
            }
        }
        let done = java.output().map_err(|source| KafkaError::Io { what: "run java", source })?;
        if done.status.success() {
            return Ok(());
        }
        let log = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
        Err(KafkaError::Failed { what: "could not format its data folder", log: log.into_owned() })
    }

    /// Java with Kafka's classes, without the class to run.
    fn java(&self) -> Result<Command, KafkaError> {
        let folder = install::folder();
        let class_path =
            class_path(&install::jars(&folder)).ok_or(KafkaError::NotFetched { folder: folder.clone() })?;
        let mut java = Command::new(install::java().ok_or(KafkaError::NoJava)?);
        // For a short life: one thread collects garbage, and the compiler does not try hard.
        java.args([
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
            "-Djava.net.preferIPv4Stack=true",
        ]);
        java.arg("-Dorg.slf4j.simpleLogger.logFile=System.out");
        java.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
        java.arg("-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info");
        // An archive that this Java cannot use is left aside without a word.
        java.args(["-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]);
        let archive = install::archive(&folder);
        if archive.is_file() {
            java.arg(format!("-XX:SharedArchiveFile={}", archive.display()));
        }
        java.arg("-cp").arg(class_path);
        Ok(java)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The jars in `folder`, always in the same order, since an archive of classes goes by it.
fn class_path(folder: &Path) -> Option<String> {
    let entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path().display().to_string());
    let mut jars: Vec<String> = entries.filter(|path| path.ends_with(".jar")).collect();
    jars.sort();
    (!jars.is_empty()).then(|| jars.join(":"))
}

#[cfg(test)]
mod tests;
