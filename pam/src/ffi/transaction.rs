//! One transaction of libpam, from pam_start(3) to pam_end(3).

use std::{
    ffi::{CStr, CString, c_int, c_void},
    marker::PhantomData,
    ptr,
};

use super::abi::{
    PAM_CHANGE_EXPIRED_AUTHTOK, PAM_DELETE_CRED, PAM_DISALLOW_NULL_AUTHTOK, PAM_ESTABLISH_CRED, PAM_NEW_AUTHTOK_REQD,
    PAM_RHOST, PAM_SUCCESS, PAM_TTY, PAM_USER, PamConv, PamHandle, pam_acct_mgmt, pam_authenticate, pam_chauthtok,
    pam_close_session, pam_end, pam_get_item, pam_open_session, pam_set_item, pam_setcred, pam_start, pam_strerror,
};
use super::converse::{Conversation, converse};

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

    /// Credentials first, as pam_setcred(3) wants it. Where it was not libpam that authenticated, modules may
    /// have none to give, as for sshd.
    pub(crate) fn open_session(&mut self, authenticated: bool) -> Result<(), String> {
        // SAFETY: the handle is live.
        let status = unsafe { pam_setcred(self.handle, PAM_ESTABLISH_CRED) };
        let given = self.done(status);
        if authenticated {
            given?;
        }
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
