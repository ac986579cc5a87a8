//! Answers over links that take their time.

use std::cell::Cell;
use std::rc::Rc;

use super::*;

/// Forwards to a node, and what comes from it so much later.
async fn slow_relay(to: String, late: Rc<Cell<Duration>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    spawn_local(Kind::Control, async move {
        loop {
            let (near, _from) = listener.accept().await.unwrap();
            let far = TcpStream::connect(&to).await.unwrap();
            let (mut asks, mut answers) = near.into_split();
            let (mut answered, mut asked) = far.into_split();
            let late = Rc::clone(&late);
            spawn_local(Kind::Control, async move {
                let _ended = tokio::io::copy(&mut asks, &mut asked).await;
            });
            spawn_local(Kind::Control, async move {
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = answered.read(&mut piece).await {
                    tokio::time::sleep(late.get()).await;
                    if answers.write_all(&piece[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn how_long_answers_take_is_learned_also_from_those_that_come_too_late() {
    here(async {
        let cluster = Cluster::new();
        let (one, two) = (cluster.node(1).await, cluster.node(2).await);
        two.handlers.attach(Service::Raft, Arc::new(Whole));
        let late = Rc::new(Cell::new(Duration::ZERO));
        cluster.directory.place(NodeId(2), slow_relay(cluster.address(2), Rc::clone(&late)).await);
        assert_eq!(one.transport.round_trip(NodeId(2)), None);
        let ask = async |limit: Duration| one.transport.call(NodeId(2), Service::Raft, Bytes::new(), limit).await;
        for _answer in 0..20 {
            ask(SOON).await.unwrap();
        }
        // Longer than anything that has been learned so far, on a busy machine, too.
        let slow = one.transport.round_trip(NodeId(2)).unwrap() + SHORT;
        late.set(slow);
        let mut lost = 0;
        let learned = || one.transport.round_trip(NodeId(2)).is_some_and(|bound| bound >= slow);
        for _attempt in 0..200 {
            lost += usize::from(matches!(ask(SHORT / 3).await, Err(CallError::Lost { .. })));
            if learned() {
                break;
            }
            tokio::time::sleep(SHORT / 10).await;
        }
        assert!(lost > 0, "the limit is too short for any answer");
        assert!(learned(), "{:?}", one.transport.round_trip(NodeId(2)));
        assert_eq!(one.transport.round_trip(NodeId(1)), None, "of the others nothing is known");
    });
}
