//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz told tests/fuzz/corpus/told tests/fuzz/seeds/told`; built without
//! cargo-fuzz, it tries the files that it is given.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| valet_fuzz::targets::told(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    valet_fuzz::files(valet_fuzz::targets::told)
}
