//! All or nothing, and only against the ruleset that was meant.

use nftwire::Namespace;
use nix::errno::Errno;

use super::*;
use meshwire_testkit::in_new_namespace;

#[test]
fn a_commit_reports_what_it_sent() {
    in_new_namespace(|| {
        let mut batch = table_and_chain();
        let commit = Socket::open().unwrap().commit(&mut batch).unwrap();
        // BATCH_END is a message without attributes.
        assert_eq!((commit.messages, commit.bytes), (2, batch.len() + 20));
    });
}

#[test]
fn an_empty_batch() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let before = socket.generation().unwrap();
        let commit = socket.commit(&mut Batch::new()).unwrap();
        assert_eq!(commit.messages, 0);
        assert_eq!(socket.check(&mut Batch::new()).unwrap().messages, 0);
        assert!(tables(&mut socket).is_empty());
        // It makes no new generation, and can ask whether one is still the current one.
        assert_eq!(socket.generation().unwrap(), before);
        let mut batch = Batch::new();
        batch.require_generation(before);
        socket.commit(&mut batch).unwrap();
        let mut batch = Batch::new();
        batch.require_generation(before + 7);
        assert!(matches!(socket.commit(&mut batch), Err(Error::GenerationChanged)));
    });
}

#[test]
fn the_same_batch_twice() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        batch.add_rule(&rule(INPUT), Position::Append, &[expr::Counter::default().into()]);
        let first = socket.commit(&mut batch).unwrap();
        let second = socket.commit(&mut batch).unwrap();
        assert_eq!((first.messages, first.bytes), (second.messages, second.bytes));
        // Existing tables and chains stay, rules are added once more.
        assert_eq!(tables(&mut socket), [TABLE]);
        assert_eq!(rules(&mut socket, INPUT).len(), 2);
        // It can grow, and go over another socket.
        batch.flush_table(FAMILY, TABLE);
        batch.add_rule(&rule(INPUT), Position::Append, &[verdict(Verdict::Accept)]);
        Socket::open().unwrap().commit(&mut batch).unwrap();
        assert_eq!(rules(&mut socket, INPUT).len(), 1);
    });
}

#[test]
fn a_check_leaves_nothing() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        batch.add_rule(&rule(INPUT), Position::Append, &[verdict(Verdict::Accept)]);
        let generation = socket.generation().unwrap();
        let check = socket.check(&mut batch).unwrap();
        assert_eq!((check.messages, check.bytes), (3, batch.len()));
        assert!(tables(&mut socket).is_empty());
        assert_eq!(socket.generation().unwrap(), generation);
        // What was checked can be committed as it is.
        socket.commit(&mut batch).unwrap();
        assert_eq!(rules(&mut socket, INPUT).len(), 1);
        // A check of a deletion deletes nothing.
        let mut batch = Batch::new();
        batch.del_table(FAMILY, TABLE);
        socket.check(&mut batch).unwrap();
        assert_eq!(tables(&mut socket), [TABLE]);
    });
}

#[test]
fn a_check_is_refused_like_a_commit() {
    in_new_namespace(|| {
        let mut socket = Socket::open().unwrap();
        let mut batch = table_and_chain();
        batch.add_rule(&rule(INPUT), Position::Append, &[verdict(Verdict::Jump("nowhere".into()))]);
        let Err(Error::Refused(checked)) = socket.check(&mut batch) else { panic!("not refused") };
        assert_eq!(*checked, refused(&mut socket, &mut batch));
    });
}

#[test]
fn a_generation_that_is_required() {
    in_new_namespace(|| {
        let (mut ours, mut others) = (Socket::open().unwrap(), Socket::open().unwrap());
        let mut batch = Batch::new();
        let generation = ours.generation().unwrap();
        batch.require_generation(generation);
        batch.add_table(&Table::new(FAMILY, "ours"));
        others.commit(&mut table_and_chain()).unwrap();
        assert!(matches!(ours.commit(&mut batch), Err(Error::GenerationChanged)));
        assert_eq!(tables(&mut ours), [TABLE]);

        let now = ours.generation().unwrap();
        assert_eq!(now, generation + 1);
        batch.clear();
        batch.require_generation(now);
        batch.add_table(&Table::new(FAMILY, "ours"));
        ours.commit(&mut batch).unwrap();
        assert_eq!(tables(&mut ours), [TABLE, "ours"]);
        // Our own commit made it stale.
        assert!(matches!(ours.commit(&mut batch), Err(Error::GenerationChanged)));
        assert!(matches!(ours.check(&mut batch), Err(Error::GenerationChanged)));
    });
}

#[test]
fn a_table_of_another_owner() {
    in_new_namespace(|| {
        let (mut ours, mut others) = (Socket::open().unwrap(), Socket::open().unwrap());
        let mut batch = Batch::new();
        batch.add_table(&Table { flags: nftwire::TableFlags::OWNER, ..Table::new(FAMILY, TABLE) });
        if others.commit(&mut batch).is_err() {
            meshwire_testkit::skip("this kernel's tables have no owner (Linux 5.12 and later)");
            return;
        }
        let refusal = refused(&mut ours, &mut table_and_chain());
        assert_eq!((refusal.message, refusal.errno), (Some(0), Errno::EPERM as i32));
        // It goes with its owner.
        drop(others);
        assert!(tables(&mut ours).is_empty());
    });
}

#[test]
fn another_namespace() {
    in_new_namespace(|| {
        Socket::open().unwrap().commit(&mut table_and_chain()).unwrap();
        let outside = Namespace::from_path("/proc/thread-self/ns/net").unwrap();
        in_new_namespace(|| {
            // The thread stays where it is; the socket is where it was opened.
            let mut socket = Socket::open_in(&outside).unwrap();
            assert_eq!(tables(&mut socket), [TABLE]);
            assert!(tables(&mut Socket::open().unwrap()).is_empty());
        });
    });
}
