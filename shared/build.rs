//! Has Cargo build this crate again when the migrations change: `sqlx::migrate!` reads their folder while it expands, and the
//! compiler does not notice a file that is new there.
#![allow(clippy::print_stdout, reason = "this is how a build script speaks to Cargo")]

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
