//! What fills a screen, on a real terminal that the test holds the other end of.

use std::process::Command;

use support::{Door, TerminalClient, patience, root, soon, until};

fn ssh(door: &Door, line: &str) -> Command {
    let mut command = door.ssh_command();
    command.env("TERM", "xterm-256color").args(["-tt", "-l", "alice", "door", line]);
    command
}

#[test]
fn tmux_and_vim_in_it_outlive_a_dropped_line() {
    if !root() {
        return;
    }
    let door = Door::standard();
    // What the pane shows, however tmux draws it.
    let shows = |text: &str| {
        let mut pane = String::new();
        let shown = until(patience(15), || {
            pane = door.run("alice", "tmux capture-pane -p").text();
            pane.contains(text)
        });
        assert!(shown, "{text:?} is not in the pane:\n{pane}");
    };
    let mut first = TerminalClient::start(ssh(&door, "tmux -f /dev/null new -s work"), 30, 100);
    first.expect("[work]");
    first.send("echo pane-$((40 + 2))\r");
    shows("pane-42");
    first.send("vim.tiny -u NONE -N page\r");
    shows("\"page\" [New");
    first.send("iwritten in vim");
    shows("written in vim");
    shows("-- INSERT --");
    // Nobody says goodbye.
    first.child.kill().unwrap();
    first.child.wait().unwrap();

    let mut second = TerminalClient::start(ssh(&door, "tmux attach -t work"), 40, 120);
    second.expect("written in vim");
    second.send("\u{1b}");
    // Alone: what follows at once, tmux takes for the rest of a key.
    soon("vim stops inserting", || !door.run("alice", "tmux capture-pane -p").text().contains("INSERT"));
    second.send(":wq\r");
    soon("vim wrote the page", || door.run("alice", "cat page").text() == "written in vim");
    let runs = || door.run("alice", "tmux display -p '#{pane_current_command}'").text();
    soon("vim has ended", || runs() == "bash");
    second.send("exit\r");
    second.expect("[exited]");
    assert_eq!(second.wait(), 0);
}

#[test]
fn full_screen_programs_follow_the_window_and_give_the_terminal_back() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let line = "vim.tiny -u NONE -N page; seq 5000 | less; top -d 100; stty -a | grep -c ' icanon'";
    let mut client = TerminalClient::start(ssh(&door, line), 24, 80);
    client.expect("\"page\" [New]");
    client.resize(41, 133);
    // The last line of its text, once it knows of 41.
    client.expect("\u{1b}[40;1H~");
    client.send(":set columns?\r");
    client.expect("columns=133");
    client.send("ifirst\u{1b}:x\r");
    // The first page of less in a window of 41 lines.
    client.expect("\n40\r\n");
    client.send("G");
    client.expect("5000\r\n");
    client.send("q");
    client.expect("load average");
    client.send("q");
    client.expect("1\r\n");
    assert_eq!(client.wait(), 0);
    assert_eq!(door.ok("alice", "cat page"), "first");
}
