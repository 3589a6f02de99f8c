//! A list of texts that a plugin gives, on its way out of the memory of the instance.

use wasmtime::Result;
use wasmtime::component::__internal::wasmtime_environ::component::StringEncoding;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift, WasmList, WasmStr};

/// Bytes of a text in a list: where it is, and how long it is.
const PLACE: usize = 8;

/// The texts of a list, one behind the other: copied as they are, since most are known and need no memory of their own.
#[derive(Debug, Default)]
pub(crate) struct Words {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Words {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The texts, as bytes that need not be UTF-8.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.bytes.get(start..*end).unwrap_or_default())
    }

    fn push(&mut self, word: &[u8]) {
        self.bytes.extend_from_slice(word);
        self.ends.push(self.bytes.len());
    }

    /// From a list at `at`, whose length the engine has checked.
    fn lift(cx: &mut LiftContext<'_>, at: usize, len: usize) -> Result<Option<Words>> {
        let places = cx.memory().get(at..).and_then(|rest| rest.get(..len * PLACE));
        let Some(places) = places else { return Ok(None) };
        let mut words = Words { bytes: Vec::with_capacity(len * PLACE), ends: Vec::with_capacity(len) };
        for place in places.as_chunks::<PLACE>().0 {
            let place = u64::from_le_bytes(*place);
            let (at, len) = (place as u32 as usize, (place >> 32) as usize);
            let Some(word) = cx.memory().get(at..).and_then(|rest| rest.get(..len)) else { return Ok(None) };
            cx.consume_fuel(len)?;
            words.push(word);
        }
        Ok(Some(words))
    }
}

#[cfg(test)]
impl<'a> FromIterator<&'a [u8]> for Words {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(texts: I) -> Words {
        let mut words = Words::default();
        texts.into_iter().for_each(|text| words.push(text));
        words
    }
}

// SAFETY: all of it is that of a list of strings.
#[allow(unsafe_code, reason = "the engine relies on the layout")]
unsafe impl ComponentType for Words {
    type Lower = <[WasmStr] as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = <[WasmStr] as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <[WasmStr] as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: reads only what is within the memory.
#[allow(unsafe_code, reason = "as above")]
unsafe impl Lift for Words {
    fn linear_lift_from_flat(cx: &mut LiftContext<'_>, ty: InterfaceType, src: &Self::Lower) -> Result<Words> {
        if cx.options().string_encoding != StringEncoding::Utf8 {
            let texts = Vec::<String>::linear_lift_from_flat(cx, ty, src)?;
            let mut words = Words::default();
            texts.iter().for_each(|text| words.push(text.as_bytes()));
            return Ok(words);
        }
        // Checks where it is, and takes its length from what may be handed over.
        WasmList::<WasmStr>::linear_lift_from_flat(cx, ty, src)?;
        let number = |at: usize| src[at].get_u32() as usize;
        let words = Words::lift(cx, number(0), number(1))?;
        words.ok_or_else(|| wasmtime::format_err!("string pointer/length out of bounds of memory"))
    }

    fn linear_lift_from_memory(_: &mut LiftContext<'_>, _: InterfaceType, _: &[u8]) -> Result<Words> {
        // Arguments are not in memory before there are seventeen values.
        wasmtime::bail!("a list within another value")
    }
}
