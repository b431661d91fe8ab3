//! Logins that take several methods, one after the other.

use crate::wire::login::Method;

/// The methods that may come next when `passed` were, in the order of `auth`; none: there is no way on.
#[must_use]
pub fn next_methods(auth: &[Vec<Method>], passed: &[Method]) -> Vec<Method> {
    let mut next = Vec::new();
    for way in auth {
        if let Some(method) = way.strip_prefix(passed).and_then(<[Method]>::first)
            && !next.contains(method)
        {
            next.push(*method);
        }
    }
    next
}

/// Whether `passed` is all that one way asks for.
#[must_use]
pub fn is_complete(auth: &[Vec<Method>], passed: &[Method]) -> bool {
    !passed.is_empty() && auth.iter().any(|way| way == passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Method::{Password, PublicKey};

    #[test]
    fn a_way_is_walked_in_order_and_to_its_end() {
        let auth = [vec![PublicKey, Password], vec![Password]];
        assert_eq!(next_methods(&auth, &[]), [PublicKey, Password]);
        assert_eq!(next_methods(&auth, &[PublicKey]), [Password]);
        assert_eq!(next_methods(&auth, &[Password]), []);
        assert_eq!(next_methods(&auth, &[PublicKey, Password]), []);
        for (passed, complete) in
            [(&[][..], false), (&[PublicKey], false), (&[Password], true), (&[PublicKey, Password], true)]
        {
            assert_eq!(is_complete(&auth, passed), complete, "{passed:?}");
        }
        assert!(!is_complete(&auth, &[Password, PublicKey]), "in this order only");
    }

    #[test]
    fn nothing_passed_completes_no_way_not_even_an_empty_one() {
        assert!(!is_complete(&[vec![]], &[]));
    }
}
