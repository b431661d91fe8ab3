//! What an [`Attacker`] does once it is logged in: global requests, channels of both sides, new keys.

use std::io;

use super::attacker::{Attacker, Message, is_silence};

/// A global request that wants an answer; its own fields follow.
pub fn global(kind: &str) -> Message {
    Message::new(80).text(kind).byte(1)
}

/// `SSH_MSG_CHANNEL_OPEN` of `kind`, with a window of 2 MiB; its own fields follow.
pub fn opening(kind: &str, channel: u32) -> Message {
    Message::new(90).text(kind).number(channel).number(1 << 21).number(32768)
}

/// One of `direct-tcpip` (RFC 4254, 7.2).
pub fn direct(channel: u32, host: &str, port: u32) -> Message {
    opening("direct-tcpip", channel).text(host).number(port).text("127.0.0.1").number(50_000)
}

/// One of `direct-streamlocal@openssh.com`.
pub fn streamlocal(channel: u32, path: &str) -> Message {
    opening("direct-streamlocal@openssh.com", channel).text(path).text("").number(0)
}

/// `SSH_MSG_CHANNEL_DATA`.
pub fn data(channel: u32, bytes: &[u8]) -> Message {
    Message::new(94).number(channel).bytes(bytes)
}

/// The confirmation of the server's channel `theirs`, which is `ours` here.
pub fn confirmation(theirs: u32, ours: u32) -> Message {
    Message::new(91).number(theirs).number(ours).number(1 << 21).number(32768)
}

/// The number at `at` of a message.
pub fn number_at(message: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(message[at..at + 4].try_into().unwrap())
}

impl Attacker {
    /// As [`Attacker::next`]; a server that says nothing more and does not hang up fails the test.
    fn answered(&mut self, numbers: &[u8]) -> io::Result<Vec<u8>> {
        let answer = self.next(numbers);
        assert!(!answer.as_ref().is_err_and(is_silence), "the server says nothing more");
        answer
    }

    /// Sends a global request; whether it succeeded, and with what.
    pub fn asked(&mut self, request: &Message) -> io::Result<Option<Vec<u8>>> {
        self.send(request);
        let reply = self.answered(&[81, 82])?;
        Ok((reply[0] == 81).then(|| reply[1..].to_vec()))
    }

    /// Asks to be reached by a port of the cell's loopback, any that is free; the port.
    pub fn listen(&mut self) -> Option<u16> {
        let port = self.asked(&global("tcpip-forward").text("localhost").number(0)).unwrap()?;
        Some(u16::try_from(number_at(&port, 0)).unwrap())
    }

    /// Whether a channel opens; the server's number for it.
    pub fn opens(&mut self, request: &Message) -> io::Result<Option<u32>> {
        self.send(request);
        let reply = self.answered(&[91, 92])?;
        Ok((reply[0] == 91).then(|| number_at(&reply, 5)))
    }

    /// The server's number for the next channel that it opens.
    pub fn is_opened(&mut self) -> io::Result<u32> {
        let message = self.answered(&[90])?;
        let kind = number_at(&message, 1) as usize;
        Ok(number_at(&message, 5 + kind))
    }

    /// The numbers of all messages that come before the answer to a request that nobody knows; nothing,
    /// if the server hangs up instead.
    pub fn settled(&mut self) -> Option<Vec<u8>> {
        self.send(&global("nothing@example.com"));
        let mut numbers = Vec::new();
        loop {
            match self.receive() {
                Ok(message) if message[0] == 82 => return Some(numbers),
                Ok(message) => numbers.push(message[0]),
                Err(error) if is_silence(&error) => panic!("the server says nothing more; it sent {numbers:?}"),
                Err(_gone) => return None,
            }
        }
    }

    /// New keys, at our wish. What the server had sent before it took part.
    pub fn rekey(&mut self) -> Vec<Vec<u8>> {
        self.send_kexinit();
        let mut before = Vec::new();
        loop {
            let message = self.receive().unwrap();
            if message[0] == 20 {
                self.server_kexinit = message;
                break;
            }
            before.push(message);
        }
        self.exchange_keys();
        before
    }

    /// Starts a command and waits for the first bytes that it writes; the channel.
    pub fn starts(&mut self, line: &str) -> u32 {
        let channel = self.open(77, 32768).expect("a session");
        self.send(&Message::request(channel, "exec", true).text(line));
        let message = self.next(&[94, 97]).unwrap();
        assert_eq!(message[0], 94, "{line} writes nothing");
        channel
    }
}
