//! A state that goes from the memory of one instance into that of another, without a copy in the host.
//!
//! The engine gives what a function returned to the host and then has the guest free it, in one call. So whoever wants to
//! read it where it is has to do so while it is lifted: the other instance is called from there.

use std::cell::Cell;
use std::mem::MaybeUninit;

use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext};
use wasmtime::component::{ComponentType, Func, Lift, Lower, WasmList};
use wasmtime::{Result, Store, ValRaw};

use crate::instance::{Local, Trapped, cpu_ns};
use crate::state::State;

/// An instance that was to be given a state.
pub(crate) struct Handed {
    pub(crate) heir: Box<Local>,
    /// What it said; none if it was given nothing.
    pub(crate) answer: Option<Result<Result<bool, String>, Trapped>>,
    /// Nanoseconds of CPU time that it used.
    pub(crate) cpu_ns: u64,
}

thread_local! {
    /// Who gets the state that is lifted next on this thread. What is lifted knows nothing but the memory that it is in.
    static HEIR: Cell<Option<Handed>> = const { Cell::new(None) };
}

/// Calls `snapshot` in `store`, and gives `heir` what it returns. The first of the answers is how `snapshot` ended: an error
/// after the heir got the state says nothing about the heir.
pub(crate) fn call(snapshot: &Func, store: &mut Store<State>, heir: Box<Local>) -> (Result<()>, Handed) {
    HEIR.set(Some(Handed { heir, answer: None, cpu_ns: 0 }));
    let ended = snapshot.typed::<(), (Lent,)>(&*store).and_then(|snapshot| snapshot.call(store, ()));
    let handed = HEIR.take().expect("put there above, and back by what takes it");
    (ended.map(|_| ()), handed)
}

/// A list of bytes on its way into an instance. The engine's own way is a loop over them, which may or may not become one copy.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

// SAFETY: all of it is that of a list of bytes.
#[allow(unsafe_code, reason = "the engine relies on the layout")]
unsafe impl ComponentType for Bytes<'_> {
    type Lower = <[u8] as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = <[u8] as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <[u8] as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: the list is within what the instance has allocated for it, and both values are written.
#[allow(unsafe_code, reason = "as above")]
unsafe impl Lower for Bytes<'_> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        _: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        let len = self.0.len();
        let at = cx.realloc(0, 0, u8::ALIGN32, len)?;
        let place = cx.as_slice_mut().get_mut(at..).and_then(|rest| rest.get_mut(..len));
        place.ok_or_else(|| wasmtime::format_err!("a list out of bounds"))?.copy_from_slice(self.0);
        dst.write([ValRaw::i64(at as i64), ValRaw::i64(len as i64)]);
        Ok(())
    }

    fn linear_lower_to_memory<T>(&self, _: &mut LowerContext<'_, T>, _: InterfaceType, _: usize) -> Result<()> {
        // It is the only argument, and those are not in memory before there are sixteen values.
        wasmtime::bail!("a list within another value")
    }
}

/// A list of bytes that is given to the heir when it is lifted.
struct Lent;

impl Lent {
    fn give(state: &[u8]) {
        // None, if it is none of `call` that lifts it.
        let Some(mut handed) = HEIR.take() else { return };
        let began = cpu_ns();
        handed.answer = Some(handed.heir.restore(state));
        handed.cpu_ns = cpu_ns().saturating_sub(began);
        HEIR.set(Some(handed));
    }
}

// SAFETY: all of it is that of a list of bytes.
#[allow(unsafe_code, reason = "as above")]
unsafe impl ComponentType for Lent {
    type Lower = <[u8] as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = <[u8] as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <[u8] as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: reads the list where the engine has checked that it is, and only what is within the memory.
#[allow(unsafe_code, reason = "as above")]
unsafe impl Lift for Lent {
    fn linear_lift_from_flat(_: &mut LiftContext<'_>, _: InterfaceType, _: &Self::Lower) -> Result<Lent> {
        // Two values are too many to be returned but in memory.
        wasmtime::bail!("a list that is not in memory")
    }

    fn linear_lift_from_memory(cx: &mut LiftContext<'_>, ty: InterfaceType, bytes: &[u8]) -> Result<Lent> {
        // Checks where it is, and takes its length from what may be handed over.
        WasmList::<u8>::linear_lift_from_memory(cx, ty, bytes)?;
        let number = |at: usize| -> Option<usize> {
            let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_le_bytes(bytes)).ok()
        };
        let state = number(0).zip(number(4)).and_then(|(at, len)| cx.memory().get(at..)?.get(..len));
        Lent::give(state.ok_or_else(|| wasmtime::format_err!("a list out of bounds"))?);
        Ok(Lent)
    }
}
