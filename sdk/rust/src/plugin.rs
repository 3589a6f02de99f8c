//! What a plugin is: the trait, and what it says about itself.

use crate::{Batch, ColumnId, Columns, Denied};

/// A plugin: process a batch, and optionally more.
///
/// The host makes one value with [`Default`], calls [`init`](Self::init) once, then
/// [`process`](Self::process) once per batch. [`tick`](Self::tick), [`snapshot`](Self::snapshot) and
/// [`restore`](Self::restore) are called only for plugins exported as `stateful` (see [`export!`](crate::export)).
pub trait Plugin: Default + 'static {
    /// Reads the configuration and says which columns are wanted.
    ///
    /// `config` is the stage's `config` table as JSON, `{}` if there is none; [`crate::config::parse`]
    /// reads it. Name and version in `manifest` are already those of the crate. Columns that are not
    /// in the manifest are not granted.
    ///
    /// # Errors
    /// A configuration error, shown to the operator as it is: name the key and the remedy.
    fn init(&mut self, config: &str, manifest: &mut Manifest) -> Result<(), String> {
        let _ = manifest;
        crate::config::parse::<crate::config::Nothing>(config).map(drop)
    }

    /// Transforms one batch. What it writes, keeps, routes and alerts counts only if it returns `Ok`.
    ///
    /// # Errors
    /// A [`Failure`]: the batch is left as it was and the stage's `on_error` decides about its rows.
    fn process(&mut self, batch: &mut Batch) -> Result<(), Failure>;

    /// Called now and then between batches; `now_ms` is batch time in milliseconds since the Unix
    /// epoch, or the wall clock's when a live source is idle.
    fn tick(&mut self, now_ms: u64) {
        let _ = now_ms;
    }

    /// The state as bytes, beginning with a version of the plugin's own.
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes over a snapshot, perhaps of another version of the plugin. `Ok(false)`: not understood,
    /// starting empty. Called after `init`, before any batch.
    ///
    /// # Errors
    /// The state is understood and wrong.
    fn restore(&mut self, data: &[u8]) -> Result<bool, String> {
        let _ = data;
        Ok(false)
    }
}

/// What the plugin is and what it asks for: a request, the operator's grant decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Name of the plugin.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Columns it reads, without doubles.
    pub reads: Vec<ColumnId>,
    /// Columns it writes or clears, without doubles.
    pub writes: Vec<ColumnId>,
    /// Whether it keeps state between batches: then it runs as one instance unless the operator says otherwise.
    pub stateful: bool,
    /// How often `tick` is wanted, in milliseconds.
    pub tick_ms: Option<u32>,
}

impl Manifest {
    /// Asks to read `columns`: a column, or an address for both its halves.
    pub fn read(&mut self, columns: impl Columns) -> &mut Manifest {
        columns.each(&mut |id| insert(&mut self.reads, id));
        self
    }

    /// Asks to write or clear `columns`.
    pub fn write(&mut self, columns: impl Columns) -> &mut Manifest {
        columns.each(&mut |id| insert(&mut self.writes, id));
        self
    }
}

fn insert(ids: &mut Vec<ColumnId>, id: ColumnId) {
    if !ids.contains(&id) {
        ids.push(id);
    }
}

/// Why a batch was not processed. The plugin lives on; nothing that it wrote is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The same batch may succeed later.
    RetryLater(String),
    /// This batch never will.
    Fatal(String),
}

impl Failure {
    /// The text for people.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Failure::RetryLater(message) | Failure::Fatal(message) => message,
        }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Failure {
        Failure::Fatal(denied.to_string())
    }
}

/// Makes `$plugin` (a type that implements [`Plugin`]) the component's exports.
///
/// `export!(Type)` for a plugin without state between batches; `export!(Type, stateful)` for one
/// whose `tick`, `snapshot` and `restore` are to be called. Outside of wasm it only checks the type.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        $crate::export!(@stage $plugin, false);
    };
    ($plugin:ty, stateful) => {
        $crate::export!(@stage $plugin, true);

        #[cfg(target_family = "wasm")]
        const _: () = {
            impl $crate::guest::Timer for Component {
                fn tick(now_ms: u64) {
                    $crate::guest::tick(&PLUGIN, now_ms);
                }
            }

            impl $crate::guest::State for Component {
                fn snapshot() -> Vec<u8> {
                    $crate::guest::snapshot(&PLUGIN)
                }

                fn restore(data: Vec<u8>) -> Result<bool, String> {
                    $crate::guest::restore(&PLUGIN, &data)
                }
            }

            $crate::guest::export_state!(Component with_types_in $crate::guest::state_bindings);
        };
    };
    (@stage $plugin:ty, $stateful:literal) => {
        const _: fn() = || {
            fn is_plugin<T: $crate::Plugin>() {}
            is_plugin::<$plugin>();
        };

        #[cfg(target_family = "wasm")]
        std::thread_local! {
            static PLUGIN: std::cell::RefCell<$plugin> = std::cell::RefCell::default();
        }

        #[cfg(target_family = "wasm")]
        struct Component;

        #[cfg(target_family = "wasm")]
        const _: () = {
            impl $crate::guest::Stage for Component {
                fn init(config: String) -> Result<$crate::guest::WitManifest, String> {
                    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
                    $crate::guest::init(&PLUGIN, &config, name, version, $stateful)
                }

                fn process() -> Result<(), $crate::guest::WitFailure> {
                    $crate::guest::process(&PLUGIN)
                }
            }

            $crate::guest::export_stage!(Component with_types_in $crate::guest::bindings);
        };
    };
}
