//! What operators and tenants ask of a collector that runs, with the commands and tokens that they have.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::collector::{Collector, request};

/// How often something was done, and how often it was refused.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcomes {
    pub(super) done: u64,
    pub(super) refused: u64,
}

/// Whose token goes with a command.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    Operator,
    Tenant,
}

/// What has to come of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Must {
    BeDone,
    BeRefused,
    /// It depends on what runs by now.
    Either,
}

/// The commands, and what came of them.
pub(super) struct Asks {
    binary: PathBuf,
    operator: String,
    tenant: String,
    outcomes: BTreeMap<&'static str, Outcomes>,
    /// What did not come as it must.
    wrong: Vec<String>,
}

/// How long a tail is read before it is dropped.
const TAIL_TIME: Duration = Duration::from_millis(100);

impl Asks {
    /// Makes the tokens.
    pub(super) fn new(binary: &Path, folder: &Path) -> Result<Asks, String> {
        let token = |name: &str, role: &[&str]| {
            let mut command = Command::new(binary);
            command.args(["token", name, "--file"]).arg(folder.join("tokens.toml")).args(role);
            let made = command.output().map_err(|error| format!("{}: {error}", binary.display()))?;
            if !made.status.success() {
                return Err(format!("no token: {}", String::from_utf8_lossy(&made.stderr)));
            }
            Ok(String::from_utf8_lossy(&made.stdout).trim().to_owned())
        };
        Ok(Asks {
            binary: binary.to_owned(),
            operator: token("operator-1", &["--role", "operator"])?,
            tenant: token("acme-1", &["--role", "tenant", "--tenant", "acme"])?,
            outcomes: BTreeMap::new(),
            wrong: Vec::new(),
        })
    }

    fn token(&self, who: Who) -> &str {
        match who {
            Who::Operator => &self.operator,
            Who::Tenant => &self.tenant,
        }
    }

    /// What came of each kind of command.
    pub(super) fn outcomes(&self) -> BTreeMap<&'static str, Outcomes> {
        self.outcomes.clone()
    }

    /// What did not come as it must.
    pub(super) fn wrong(&self) -> Vec<String> {
        self.wrong.clone()
    }

    /// Runs `sluice ARGS`.
    ///
    /// # Errors
    /// If the collector does not answer.
    pub(super) fn ask(
        &mut self,
        collector: &Collector,
        what: &'static str,
        (who, must): (Who, Must),
        args: &[&str],
    ) -> Result<(), String> {
        let mut command = Command::new(&self.binary);
        command
            .args(args)
            .env("SLUICE_TOKEN", self.token(who))
            .env("SLUICE_ADMIN", format!("http://{}", collector.admin));
        let asked = command.output().map_err(|error| format!("{}: {error}", self.binary.display()))?;
        let said = String::from_utf8_lossy(&asked.stderr).trim().to_owned();
        let is_answer = !said.contains("does not answer") && !said.contains("no whole answer");
        let is_done = match asked.status.code() {
            Some(0) => true,
            Some(1) if is_answer => false,
            _ => return Err(format!("sluice {}: {said}", args.join(" "))),
        };
        if (must == Must::BeDone && !is_done) || (must == Must::BeRefused && is_done) {
            self.wrong.push(format!("`{}` was {}: {said}", args.join(" "), if is_done { "done" } else { "refused" }));
        }
        self.count(what, is_done);
        Ok(())
    }

    fn count(&mut self, what: &'static str, is_done: bool) {
        let outcomes = self.outcomes.entry(what).or_default();
        if is_done { outcomes.done += 1 } else { outcomes.refused += 1 }
    }

    /// Opens a live tail, reads for a moment, and drops it with rows under way. One that does not exist is refused; that there are
    /// too many open would mean that dropped ones stay.
    pub(super) fn tail(
        &mut self,
        collector: &Collector,
        what: &'static str,
        who: Who,
        node: &str,
    ) -> Result<(), String> {
        let path = format!("/v1/tail/{node}");
        let failed = |error: std::io::Error| format!("{path}: {error}");
        let mut stream = request(collector.admin, &path, Some(self.token(who))).map_err(failed)?;
        let mut answer = vec![0; 4096];
        let len = stream.read(&mut answer).map_err(failed)?;
        let head = String::from_utf8_lossy(&answer[..len]).into_owned();
        let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
        match status.as_str() {
            "200" => {
                stream.set_read_timeout(Some(TAIL_TIME)).map_err(failed)?;
                // Nothing may come: where the rows go by now is somewhere else.
                drop(stream.read(&mut answer));
                self.count(what, true);
            }
            "404" => self.count(what, false),
            _ => self.wrong.push(format!("a tail of {node} was answered with {head}")),
        }
        Ok(())
    }
}
