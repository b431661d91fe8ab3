use proptest::prelude::*;

use super::*;

const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOvEZAsSCSXY/tD17dlr8tZQuiDwxgYK6SvOxvCl6bsB";
const RSA_1024: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC0CQAvVtjkyPT/CYT7jjxZpVJQFOtdH+zSvu+NSnfCADiEWxcNFkgHS6X7ktKsjSM0nw+P5pD/rqHMDG6RlSH0082LDDaU2x2QZkykCu9kk32IJTqAMCkIPQZI1bh0NyPkM82Hvz8ftb92hdEe79X8oEkJRvleEH4C8FLDfGRAaQ==";
const RSA_2048: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCtkBg07xN/4rqcaAG0kf57kKxeJgQksqIHlPmPRSQNCOawM7VpsdGcvc/wbsylawx315EXSBJ0EYU1h1V0XQyPqPZGT8JSCBdPZ3qn+9iWk457AHUj7M2CvAxH5nd+8aeG3WyCfvuEagU2z+vzX7XTyfLwxY5f0z3zcfqs0mBvypGqiXVbe1bfeh51w7ImB4GeObjabY+tYR9spH72YwBbPj5i027Nui7sy6UEWMrU4Z1OfcnvqbP3JYWv4wmFcMvdNiZzxDve/6eHJtWL5OU0ByOD/9mc9pUOOdvt+4wAaMbft22tUdMFlcB1YK8D10Pdg/jtp/f07Fn3LJvEAmff";
const P256: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBJxci0EuU75qxtcc9DTSU7+DyE3QyGBIVsAJMFrUUQN0xviaCnoac3KKYO2j4c9+IUh2CTl6n8ado62bgSrKXAo=";
const P384: &str = "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBKkkk8G/zA5T6gISZT0i2b9ekcuhmq9XyyZlCd88BVeBnnFskLs9alFaX0S7w1blOjtUPpfsE04X1jA46D3E5T9T5R/N2/HG305gDrdtS2tQ5fVURhRVwSyRFQUjWhrkIg==";
const P521: &str = "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAFEkjWEm0IhfkZjLz65wTvn5YUaabsR344Avq9yErbKbcbuVMasgDmRQ3GUpJrMzPsoHJecihvCJsjS0Rf/f1LZRQF1+NN+77a0TwvLHwlmhnFh2INNa6lQ/ugJEtVfmisCf/QjTs6O2eiIe33cwyY9JZRaZDNK4tgJVvpVF0x90wFJ3Q==";

fn key(line: &str) -> AuthorizedKey {
    parse_line(line).unwrap().unwrap()
}

fn options(text: &str) -> KeyOptions {
    key(&format!("{text} {ED25519}")).options
}

fn refusal(text: &str) -> String {
    parse_line(&format!("{text} {ED25519} c")).unwrap_err().to_string()
}

#[test]
fn every_kind_of_key_that_openssh_makes_is_read_with_its_comment() {
    for line in [ED25519, RSA_2048, P256, P384, P521] {
        let read = key(&format!(" \t{line}\talice at  home \r\n"));
        assert_eq!(read.comment, "alice at  home");
        assert_eq!(read.options, KeyOptions::default());
        assert_eq!(BASE64.encode(&read.blob), line.split_once(' ').unwrap().1);
    }
    assert_eq!(key(ED25519).comment, "");
}

#[test]
fn blank_lines_and_comments_are_no_keys() {
    for line in ["", " \t ", "# a", "  #ssh-ed25519 AAAA", "\r\n"] {
        assert_eq!(parse_line(line), Ok(None));
    }
}

#[test]
fn weak_and_foreign_keys_are_refused_with_the_reason() {
    let reason = |line: &str| parse_line(line).unwrap_err().to_string();
    assert_eq!(reason(RSA_1024), "an RSA key of 1024 bits can be broken; at least 2048 are needed");
    assert_eq!(reason("ssh-dss AAAA"), "DSA keys have 1024 bits and are no longer safe");
    assert_eq!(reason("ssh-ed25519-cert-v01@openssh.com AAAA"), "a certificate is not a key");
    assert!(reason("webauthn-sk-ecdsa-sha2-nistp256@openssh.com AAAA").contains("webauthn-sk-ecdsa"));
    assert!(reason("sk-x@openssh.com AAAA").contains("\"sk-x@openssh.com\""));
    assert_eq!(reason("ssh-ed25519"), "nothing follows the key type \"ssh-ed25519\"");
    assert_eq!(reason("ssh-ed25519 AAAA"), "this is not a whole ssh-ed25519 key");
    assert_eq!(reason(ED25519.trim_end_matches('B')), "this is not a whole ssh-ed25519 key");
    let lying = ED25519.replace("ssh-ed25519", "ssh-rsa");
    assert_eq!(reason(&lying), "the line says ssh-rsa, the key in it is ssh-ed25519");
    let trailing = BASE64.encode([BASE64.decode(ED25519.split_once(' ').unwrap().1).unwrap(), vec![0]].concat());
    assert_eq!(reason(&format!("ssh-ed25519 {trailing}")), "this is not a whole ssh-ed25519 key");
}

#[test]
fn quotes_hold_blanks_commas_hashes_and_quotes() {
    let read = options(r#"command="ls -l,\t# \"x\"	tab",no-pty"#);
    assert_eq!(read.command.as_deref(), Some("ls -l,\\t# \"x\"\ttab"));
    assert!(read.no_pty);
    assert_eq!(options(r#"command="a\\\"b""#).command.as_deref(), Some(r#"a\\"b"#));
    assert_eq!(options(r#"command="""#).command.as_deref(), Some(""));
    assert_eq!(options(r#"command="ssh-ed25519 AAAA""#).command.as_deref(), Some("ssh-ed25519 AAAA"));
}

#[test]
fn what_is_malformed_is_refused() {
    assert_eq!(parse_line("command=\"ls").unwrap_err().to_string(), "a quote is opened and not closed");
    assert_eq!(parse_line("no-pty").unwrap_err().to_string(), "no key is on this line");
    assert_eq!(refusal("command=ls"), "the value of \"command\" needs quotes");
    assert_eq!(refusal("command"), "option \"command\" needs a value");
    assert_eq!(refusal("command=\"a\",command=\"b\""), "option \"command\" is given twice");
    assert_eq!(refusal("from=\"::1\",from=\"::2\""), "option \"from\" is given twice");
    assert_eq!(refusal("command=\"a\"no-pty"), "a comma is missing after option \"command\"");
    assert_eq!(refusal(",no-pty"), "an option is empty");
    assert_eq!(refusal("no-pty,"), "an option is empty");
    assert_eq!(refusal("no-pty, command=\"a\""), "an option is empty");
    assert!(parse_line(&format!("{ED25519} \0")).is_err());
    assert!(parse_line(&format!("{ED25519} a\nb")).is_err());
    assert!(parse_line(&format!("{ED25519} {}", "x".repeat(MAX_LINE))).is_err());
}

#[test]
fn an_option_that_is_not_honoured_makes_the_line_an_error() {
    for option in ["tunnel=\"0\"", "environment=\"A=b\"", "verify-required", "unheard-of", "no-pty=\"yes\""] {
        let name = option.split('=').next().unwrap();
        assert!(refusal(option).contains(&format!("\"{name}\"")), "{option}: {}", refusal(option));
    }
}

#[test]
fn what_a_key_may_forward_adds_up_and_is_a_list_only_if_given() {
    assert_eq!(options("no-pty").permit_open, Permit::Any);
    let of = options(r#"permitopen="DB:5432",permitlisten="8080",PermitOpen="[::1]:*",permitlisten="localhost:1""#);
    let shown = |permit: Permit| match permit {
        Permit::Any => Vec::new(),
        Permit::Only(entries) => entries.iter().map(ToString::to_string).collect::<Vec<_>>(),
    };
    assert_eq!(shown(of.permit_open), ["db:5432", "[::1]:*"]);
    assert_eq!(shown(of.permit_listen), ["*:8080", "localhost:1"]);
    // `restrict` goes before it, as in sshd.
    assert!(options(r#"restrict,permitopen="a:1""#).no_port_forwarding);
    for bad in ["a", "a:0", "a:1,b:2", "::1:1", "*.a:1", "any", "none", ""] {
        assert!(refusal(&format!("permitopen=\"{bad}\"")).starts_with(&format!("\"{bad}\": ")), "{bad}");
    }
    assert!(refusal("permitlisten=\"a\"").contains("a port is a number"));
    assert!(refusal("permitlisten").contains("needs a value"));
}

#[test]
fn a_security_key_is_a_key_and_its_touch_is_remarked_on() {
    let of = |options: &str, name: &str, parts: &[&[u8]]| {
        let mut blob = Vec::new();
        for part in [&[name.as_bytes()], parts].concat() {
            blob.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
            blob.extend(part);
        }
        key(&format!("{options}{name} {} c", BASE64.encode(blob)))
    };
    let ed25519 = |options: &str| of(options, "sk-ssh-ed25519@openssh.com", &[&[7; 32], b"ssh:"]);
    assert!(ed25519("").expects_touch() && remark(&ed25519("")).is_some());
    assert_eq!(remark(&ed25519("no-touch-required ")), None);
    let point = BASE64.decode(P256.split_once(' ').unwrap().1).unwrap()[39..].to_vec();
    let ecdsa = of("no-pty ", "sk-ecdsa-sha2-nistp256@openssh.com", &[b"nistp256", &point, b"ssh:"]);
    assert!(ecdsa.expects_touch() && ecdsa.options.no_pty);
    assert_eq!(remark(&key(ED25519)), None);
}

#[test]
fn an_authority_is_one_by_its_line_and_never_a_key_as_well() {
    let role = |text: &str| key(&format!("{text} {ED25519}")).role;
    assert_eq!(role("no-pty"), KeyRole::User);
    assert_eq!(role("cert-authority"), KeyRole::Authority { principals: None });
    let named = KeyRole::Authority { principals: Some(vec!["a".into(), "b c".into()]) };
    assert_eq!(role("principals=\"a,b c\",Cert-Authority,no-pty"), named);
    assert!(refusal("principals=\"a\"").contains("no authority"));
    assert!(refusal("cert-authority,principals").contains("needs a value"));
    for empty in ["", ",", "a,", ",a"] {
        assert!(refusal(&format!("cert-authority,principals=\"{empty}\"")).contains("is empty"), "{empty}");
    }
    assert!(parse_line(&format!("cert-authority {RSA_2048}")).unwrap_err().to_string().contains("3072"));
    assert!(parse_authority(RSA_2048).unwrap_err().to_string().contains("3072"));
    assert!(parse_authority(&format!("no-pty {ED25519}")).unwrap_err().to_string().contains("no options"));
    assert!(parse_authority(&format!("cert-authority {ED25519}")).unwrap_err().to_string().contains("no options"));
    assert_eq!(parse_authority(P256).unwrap().unwrap().role, KeyRole::Authority { principals: None });
}

#[test]
fn restrict_takes_everything_and_what_follows_gives_it_back() {
    let all = options("restrict");
    assert!(all.no_pty && all.no_port_forwarding && all.no_agent_forwarding && all.no_x11_forwarding && all.no_user_rc);
    let some = options("restrict,PTY,X11-forwarding");
    assert!(!some.no_pty && !some.no_x11_forwarding && some.no_port_forwarding && some.no_agent_forwarding);
    assert!(options("pty,restrict").no_pty);
    assert_eq!(options("no-pty,pty,no-user-rc,user-rc"), KeyOptions::default());
}

#[test]
fn addresses_are_honoured_and_host_names_refused() {
    for good in ["192.0.2.0/24", "2001:db8::/32,!10.*,127.0.0.?", "::1"] {
        assert_eq!(options(&format!("from=\"{good}\"")).from.as_deref(), Some(good));
    }
    for bad in ["*.example.com", "192.0.2.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "", "::1,", "!", "a/b"] {
        assert!(refusal(&format!("from=\"{bad}\"")).contains("no address"), "{bad}");
    }
}

#[test]
fn expiry_times_are_read_in_every_form_and_the_earliest_counts() {
    let at = |text: &str| options(&format!("expiry-time=\"{text}\"")).expiry.unwrap();
    assert_eq!(at("19700102Z"), 86_400);
    assert_eq!(at("197001020001z"), 86_460);
    assert_eq!(at("19700102000102Z"), 86_462);
    assert_eq!(at("20270131Z"), 1_801_353_600);
    assert!((at("20270131") - at("20270131Z")).abs() <= 14 * 3600, "local time");
    assert_eq!(options("expiry-time=\"19700103Z\",expiry-time=\"19700102Z\"").expiry, Some(86_400));
    for bad in
        ["", "Z", "2027", "20271301Z", "20270230Z", "202701012460Z", "2027013", "+2027013Z", "20270131UTC", "２０２７"]
    {
        assert!(refusal(&format!("expiry-time=\"{bad}\"")).contains("no expiry time"), "{bad}");
    }
}

#[test]
fn a_file_gives_its_good_keys_and_the_numbers_of_its_bad_lines() {
    let text = format!("# keys\n{ED25519} a\n\ntunnel {ED25519} b\r\n{P256} c");
    let (keys, errors) = parse_file(&text);
    assert_eq!(keys.iter().map(|key| key.comment.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(errors.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4]);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let (keys, errors) = parse_file(&text);
        prop_assert!(keys.len() + errors.len() <= text.lines().count());
    }

    #[test]
    fn no_options_make_it_panic(text in r#"((from|command|expiry-time|restrict|no-pty|x)(=?"?[^"]{0,10}\\?"?)?,?){0,5}"#) {
        if let Ok(Some(key)) = parse_line(&format!("{text} {ED25519}")) {
            prop_assert_eq!(key.blob.len(), 51);
        }
    }
}
