//! What modules say and ask, from C to Rust and back.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    ptr, slice,
};

use super::abi::{
    MAX_MESSAGES, PAM_BUF_ERR, PAM_CONV_ERR, PAM_PROMPT_ECHO_OFF, PAM_PROMPT_ECHO_ON, PAM_SUCCESS, PamMessage,
    PamResponse,
};
use crate::base::Secret;

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

/// pam_conv(3).
///
/// # Safety
/// `data` is a `T` that nobody else uses for the time of the call; the rest is libpam's.
pub(super) unsafe extern "C" fn converse<T: Conversation>(
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
    // SAFETY: libpam passes `count` pointers to messages (Linux's form of pam_conv(3)).
    for message in unsafe { slice::from_raw_parts(messages, count) } {
        if message.is_null() {
            return PAM_CONV_ERR;
        }
        // SAFETY: it is one, and lives until we return.
        let PamMessage { style, text } = unsafe { message.read() };
        let text = if text.is_null() {
            String::new()
        } else {
            // SAFETY: a C string.
            unsafe { CStr::from_ptr(text) }.to_string_lossy().into()
        };
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
        let entry = unsafe { array.add(index) };
        // SAFETY: an entry of the array, which is ours alone.
        unsafe { entry.write(PamResponse { answer: copy, code: 0 }) };
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
    // SAFETY: the array has as many entries, and nobody changes them meanwhile.
    for PamResponse { answer, .. } in unsafe { slice::from_raw_parts(array, count) } {
        let answer = *answer;
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
