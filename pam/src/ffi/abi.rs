//! The part of libpam's interface that is used, as security/_pam_types.h and pam_appl.h have it.

use std::ffi::{c_char, c_int, c_void};

pub(super) const PAM_SUCCESS: c_int = 0;
pub(super) const PAM_BUF_ERR: c_int = 5;
pub(super) const PAM_NEW_AUTHTOK_REQD: c_int = 12;
pub(super) const PAM_CONV_ERR: c_int = 19;
pub(super) const PAM_DISALLOW_NULL_AUTHTOK: c_int = 0x1;
pub(super) const PAM_ESTABLISH_CRED: c_int = 0x2;
pub(super) const PAM_DELETE_CRED: c_int = 0x4;
pub(super) const PAM_CHANGE_EXPIRED_AUTHTOK: c_int = 0x20;
pub(super) const PAM_USER: c_int = 2;
pub(super) const PAM_TTY: c_int = 3;
pub(super) const PAM_RHOST: c_int = 4;
pub(super) const PAM_PROMPT_ECHO_OFF: c_int = 1;
pub(super) const PAM_PROMPT_ECHO_ON: c_int = 2;

/// `PAM_MAX_NUM_MSG`.
pub(super) const MAX_MESSAGES: usize = 32;

#[repr(C)]
pub(super) struct PamMessage {
    pub(super) style: c_int,
    pub(super) text: *const c_char,
}

#[repr(C)]
pub(super) struct PamResponse {
    pub(super) answer: *mut c_char,
    pub(super) code: c_int,
}

pub(super) type Converse =
    unsafe extern "C" fn(c_int, *mut *const PamMessage, *mut *mut PamResponse, *mut c_void) -> c_int;

#[repr(C)]
pub(super) struct PamConv {
    pub(super) converse: Converse,
    pub(super) data: *mut c_void,
}

#[repr(C)]
pub(super) struct PamHandle {
    private: [u8; 0],
}

#[link(name = "pam")]
unsafe extern "C" {
    pub(super) fn pam_start(
        service: *const c_char,
        user: *const c_char,
        conversation: *const PamConv,
        handle: *mut *mut PamHandle,
    ) -> c_int;
    pub(super) fn pam_end(handle: *mut PamHandle, status: c_int) -> c_int;
    pub(super) fn pam_set_item(handle: *mut PamHandle, item: c_int, value: *const c_void) -> c_int;
    pub(super) fn pam_get_item(handle: *const PamHandle, item: c_int, value: *mut *const c_void) -> c_int;
    pub(super) fn pam_authenticate(handle: *mut PamHandle, flags: c_int) -> c_int;
    pub(super) fn pam_acct_mgmt(handle: *mut PamHandle, flags: c_int) -> c_int;
    pub(super) fn pam_chauthtok(handle: *mut PamHandle, flags: c_int) -> c_int;
    pub(super) fn pam_setcred(handle: *mut PamHandle, flags: c_int) -> c_int;
    pub(super) fn pam_open_session(handle: *mut PamHandle, flags: c_int) -> c_int;
    pub(super) fn pam_close_session(handle: *mut PamHandle, flags: c_int) -> c_int;
    pub(super) fn pam_strerror(handle: *mut PamHandle, status: c_int) -> *const c_char;
}
