//! libpam (pam(3)), and the few calls of libc beside it: the only `unsafe` of this program.
#![expect(unsafe_code, reason = "libpam is a C library")]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    marker::PhantomData,
    os::fd::{FromRawFd as _, OwnedFd},
    ptr,
};

use crate::base::Secret;

// From security/_pam_types.h of Linux-PAM; part of its ABI.
const PAM_SUCCESS: c_int = 0;
const PAM_BUF_ERR: c_int = 5;
const PAM_NEW_AUTHTOK_REQD: c_int = 12;
const PAM_CONV_ERR: c_int = 19;
const PAM_DISALLOW_NULL_AUTHTOK: c_int = 0x1;
const PAM_ESTABLISH_CRED: c_int = 0x2;
const PAM_DELETE_CRED: c_int = 0x4;
const PAM_CHANGE_EXPIRED_AUTHTOK: c_int = 0x20;
const PAM_USER: c_int = 2;
const PAM_TTY: c_int = 3;
const PAM_RHOST: c_int = 4;
const PAM_PROMPT_ECHO_OFF: c_int = 1;
const PAM_PROMPT_ECHO_ON: c_int = 2;

/// `PAM_MAX_NUM_MSG`.
const MAX_MESSAGES: usize = 32;

#[repr(C)]
struct PamMessage {
    style: c_int,
    text: *const c_char,
}

#[repr(C)]
struct PamResponse {
    answer: *mut c_char,
    code: c_int,
}

type Converse =
    unsafe extern "C" fn(c_int, *mut *const PamMessage, *mut *mut PamResponse, *mut c_void) -> c_int;

#[repr(C)]
struct PamConv {
    converse: Converse,
    data: *mut c_void,
}

#[repr(C)]
struct PamHandle {
    private: [u8; 0],
}

#[link(name = "pam")]
unsafe extern "C" {
    fn pam_start(
        service: *const c_char,
        user: *const c_char,
        conversation: *const PamConv,
        handle: *mut *mut PamHandle,
    ) -> c_int;
    fn pam_end(handle: *mut PamHandle, status: c_int) -> c_int;
    fn pam_set_item(handle: *mut PamHandle, item: c_int, value: *const c_void) -> c_int;
    fn pam_get_item(handle: *const PamHandle, item: c_int, value: *mut *const c_void) -> c_int;
    fn pam_authenticate(handle: *mut PamHandle, flags: c_int) -> c_int;
    fn pam_acct_mgmt(handle: *mut PamHandle, flags: c_int) -> c_int;
    fn pam_chauthtok(handle: *mut PamHandle, flags: c_int) -> c_int;
    fn pam_setcred(handle: *mut PamHandle, flags: c_int) -> c_int;
    fn pam_open_session(handle: *mut PamHandle, flags: c_int) -> c_int;
    fn pam_close_session(handle: *mut PamHandle, flags: c_int) -> c_int;
    fn pam_strerror(handle: *mut PamHandle, status: c_int) -> *const c_char;
}

/// What a module says or asks.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) text: String,
    /// A question, and whether its answer may be seen.
    pub(crate) prompt: Option<bool>,
}

/// Talks to the user.
pub(crate) trait Conversation {
    /// One entry for each message: the answer to a question, nothing to anything else. `None`: there is
    /// nobody to ask.
    fn converse(&mut self, messages: Vec<Message>) -> Option<Vec<Option<Secret>>>;
}

/// What an account's check comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It may be used.
    Done,
    /// Once its password was changed.
    PasswordExpired,
}

/// One transaction of libpam; ended when dropped.
pub(crate) struct Pam<'t, T> {
    handle: *mut PamHandle,
    talk: *mut T,
    user: CString,
    last: c_int,
    borrowed: PhantomData<&'t mut T>,
}

impl<'t, T: Conversation> Pam<'t, T> {
    pub(crate) fn start(service: &CStr, user: &CStr, peer: &CStr, talk: &'t mut T) -> Result<Self, String> {
        let talk: *mut T = talk;
        // libpam copies it.
        let conversation = PamConv { converse: converse::<T>, data: talk.cast() };
        let mut handle = ptr::null_mut();
        // SAFETY: three live C strings or structs, and a place for the handle; `data` is what
        // `converse::<T>` takes it for, and lives as long as `'t`, which this value keeps borrowed.
        let status = unsafe { pam_start(service.as_ptr(), user.as_ptr(), &raw const conversation, &raw mut handle) };
        if status != PAM_SUCCESS || handle.is_null() {
            return Err(format!("error {status}"));
        }
        let mut pam = Self { handle, talk, user: user.to_owned(), last: PAM_SUCCESS, borrowed: PhantomData };
        for (item, value) in [(PAM_RHOST, peer), (PAM_TTY, c"ssh")] {
            // SAFETY: the handle is live, and both items are C strings, which libpam copies.
            let status = unsafe { pam_set_item(pam.handle, item, value.as_ptr().cast()) };
            pam.done(status)?;
        }
        Ok(pam)
    }

    /// The talker, between calls of libpam.
    pub(crate) fn conversation(&mut self) -> &mut T {
        // SAFETY: it outlives `'t`, and nothing else refers to it while no call of libpam runs, which
        // the exclusive borrow of this value keeps away.
        unsafe { &mut *self.talk }
    }

    pub(crate) fn authenticate(&mut self) -> Result<(), String> {
        // SAFETY: the handle is live.
        let status = unsafe { pam_authenticate(self.handle, PAM_DISALLOW_NULL_AUTHTOK) };
        self.done(status)?;
        self.is_same_user()
    }

    pub(crate) fn may_use_account(&mut self) -> Result<Outcome, String> {
        // SAFETY: the handle is live.
        let status = unsafe { pam_acct_mgmt(self.handle, PAM_DISALLOW_NULL_AUTHTOK) };
        if status == PAM_NEW_AUTHTOK_REQD {
            return Ok(Outcome::PasswordExpired);
        }
        self.done(status)?;
        self.is_same_user()?;
        Ok(Outcome::Done)
    }

    pub(crate) fn change_expired_password(&mut self) -> Result<(), String> {
        // SAFETY: the handle is live.
        let status = unsafe { pam_chauthtok(self.handle, PAM_CHANGE_EXPIRED_AUTHTOK) };
        self.done(status)?;
        self.is_same_user()
    }

    /// Credentials first, as pam_setcred(3) wants it.
    pub(crate) fn open_session(&mut self) -> Result<(), String> {
        // SAFETY: the handle is live.
        let status = unsafe { pam_setcred(self.handle, PAM_ESTABLISH_CRED) };
        self.done(status)?;
        // SAFETY: as above.
        let status = unsafe { pam_open_session(self.handle, 0) };
        let opened = self.done(status);
        let same = opened.and_then(|()| self.is_same_user());
        if same.is_err() {
            if status == PAM_SUCCESS {
                self.close_session();
            } else {
                self.delete_credentials();
            }
        }
        same
    }

    /// As far as it can be closed.
    pub(crate) fn close_session(&mut self) {
        // SAFETY: the handle is live.
        self.last = unsafe { pam_close_session(self.handle, 0) };
        self.delete_credentials();
    }

    fn delete_credentials(&mut self) {
        // SAFETY: the handle is live.
        self.last = unsafe { pam_setcred(self.handle, PAM_DELETE_CRED) };
    }

    /// Modules may make another user of this one. None that we know of.
    fn is_same_user(&self) -> Result<(), String> {
        let mut value: *const c_void = ptr::null();
        // SAFETY: the handle is live, and there is a place for the pointer.
        let status = unsafe { pam_get_item(self.handle, PAM_USER, &raw mut value) };
        if status != PAM_SUCCESS || value.is_null() {
            return Err("PAM forgot the user".to_owned());
        }
        // SAFETY: PAM_USER is a C string, which lives until the next call of libpam.
        let now = unsafe { CStr::from_ptr(value.cast()) };
        if now == self.user.as_c_str() { Ok(()) } else { Err("PAM changed the user".to_owned()) }
    }

    fn done(&mut self, status: c_int) -> Result<(), String> {
        self.last = status;
        if status == PAM_SUCCESS {
            return Ok(());
        }
        // SAFETY: the handle is live.
        let text = unsafe { pam_strerror(self.handle, status) };
        if text.is_null() {
            return Err(format!("error {status}"));
        }
        // SAFETY: a constant C string of libpam's.
        Err(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    }
}

impl<T> Drop for Pam<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and used no more.
        unsafe { pam_end(self.handle, self.last) };
    }
}

/// pam_conv(3). `data` is the `T` of [`Pam::start`].
unsafe extern "C" fn converse<T: Conversation>(
    count: c_int,
    messages: *mut *const PamMessage,
    responses: *mut *mut PamResponse,
    data: *mut c_void,
) -> c_int {
    let Ok(count) = usize::try_from(count) else { return PAM_CONV_ERR };
    if count == 0 || count > MAX_MESSAGES || messages.is_null() || responses.is_null() || data.is_null() {
        return PAM_CONV_ERR;
    }
    let mut heard = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: libpam passes `count` pointers to messages (Linux's form of pam_conv(3)).
        let message = unsafe { messages.add(index).read() };
        if message.is_null() {
            return PAM_CONV_ERR;
        }
        // SAFETY: it is one, and lives until we return.
        let PamMessage { style, text } = unsafe { message.read() };
        // SAFETY: a C string, if there is one.
        let text = if text.is_null() { String::new() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().into() };
        let prompt = match style {
            PAM_PROMPT_ECHO_OFF => Some(false),
            PAM_PROMPT_ECHO_ON => Some(true),
            _other => None,
        };
        heard.push(Message { text, prompt });
    }
    // SAFETY: `data` is the `T` that `Pam` keeps borrowed, and nobody uses it while libpam runs.
    let talk = unsafe { &mut *data.cast::<T>() };
    let Some(answers) = talk.converse(heard).filter(|answers| answers.len() == count) else { return PAM_CONV_ERR };
    // SAFETY: calloc takes two numbers.
    let array: *mut PamResponse = unsafe { libc::calloc(count, size_of::<PamResponse>()) }.cast();
    if array.is_null() {
        return PAM_BUF_ERR;
    }
    for (index, answer) in answers.into_iter().enumerate() {
        let Some(answer) = answer else { continue };
        let copy = copied(answer.expose());
        if copy.is_null() {
            // SAFETY: `array` has `count` entries, each a copy of ours or null, and nobody else has it.
            unsafe { wipe(array, index) };
            return PAM_CONV_ERR;
        }
        // SAFETY: `index` is below `count`.
        unsafe { array.add(index).write(PamResponse { answer: copy, code: 0 }) };
    }
    // SAFETY: libpam wants the array there, and frees it with free(3), which fits calloc.
    unsafe { responses.write(array) };
    PAM_SUCCESS
}

/// A C string of malloc's; null if there is no memory, or a zero in it, which would cut it short.
fn copied(bytes: &[u8]) -> *mut c_char {
    if bytes.contains(&0) {
        return ptr::null_mut();
    }
    // SAFETY: calloc takes two numbers; the last byte stays zero.
    let copy: *mut u8 = unsafe { libc::calloc(bytes.len() + 1, 1) }.cast();
    if !copy.is_null() {
        // SAFETY: `copy` has one byte more than is copied, and is new.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len()) };
    }
    copy.cast()
}

/// Wipes and frees the first `count` answers of an array, and the array.
///
/// # Safety
/// The array is calloc's, has as many entries, and each answer is a C string of calloc's or null.
unsafe fn wipe(array: *mut PamResponse, count: usize) {
    for index in 0..count {
        // SAFETY: `index` is below the number of entries.
        let PamResponse { answer, .. } = unsafe { array.add(index).read() };
        if !answer.is_null() {
            // SAFETY: a C string.
            let length = unsafe { libc::strlen(answer) };
            // SAFETY: it has that many bytes, and nobody reads them any more.
            unsafe { libc::explicit_bzero(answer.cast(), length) };
            // SAFETY: of calloc's, and freed once.
            unsafe { libc::free(answer.cast()) };
        }
    }
    // SAFETY: of calloc's, and freed once.
    unsafe { libc::free(array.cast()) };
}

/// Ignores what would end this process by the way: the link's end does it.
pub(crate) fn ignore_signals() {
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE] {
        // SAFETY: no handler of ours is set.
        unsafe { libc::signal(number, libc::SIG_IGN) };
    }
}

/// alarm(2): after so many seconds this process is killed; 0: not any more.
pub(crate) fn end_after(seconds: u32) {
    // SAFETY: alarm takes a number, and the default disposition ends the process.
    unsafe { libc::alarm(seconds) };
}

/// Takes over a descriptor that was open at exec.
pub(crate) fn take_descriptor(number: i32) -> OwnedFd {
    // SAFETY: called once, at the start, for the one that the monitor lays out for us.
    unsafe { OwnedFd::from_raw_fd(number) }
}
