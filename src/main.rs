//! `cellblock`: what everybody calls. A caller of the enter door stays as long as its session, and there is one for
//! each: that is small, linked statically, and all that is done here. For every other verb it becomes `cellblock-admin`.
#![no_main]

use std::{env, ffi::OsString};

use cellblock::enter::{FAULT, Line, become_admin, complain, run};

cellblock::program!(start);

/// The exit status.
fn start() -> u8 {
    let arguments: Vec<OsString> = env::args_os().collect();
    match Line::parse(&arguments) {
        Ok(Some(Line { asked, socket })) => run(asked, &socket),
        Ok(None) => become_admin(&arguments),
        Err(bad) => {
            complain(bad);
            FAULT
        }
    }
}
