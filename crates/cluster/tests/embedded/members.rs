//! Nodes that come and go.

use mainstay_cluster::coordinator::Operation;
use mainstay_cluster::embedded::{ChangeError, Part, Peer, RecoverError, recover, survey};
use mainstay_cluster::peer::NodeId;

use crate::cluster::{Cluster, eventually, peer, run, text};

fn ids(nodes: &[u64]) -> Vec<NodeId> {
    nodes.iter().map(|node| NodeId(*node)).collect()
}

#[test]
fn a_cluster_grows_from_one_to_three_to_five() {
    run(async || {
        let mut cluster = Cluster::of(1).await;
        cluster.on(1).put("k", text("v"), None).await.unwrap();
        let mut members = vec![NodeId(1)];
        for count in 2..=5 {
            let asked = members[count - 2].0;
            // A number whose answer was lost is never given again, so that there may be gaps.
            let node = cluster.node(asked).number().await.unwrap();
            assert!(members.iter().all(|member| *member < node));
            cluster.start(node.0).await;
            let changed = cluster.node(asked).add(node, peer(node.0), false).await.unwrap();
            members.push(node);
            // An even number waits for the next.
            let odd = count - (1 - count % 2);
            assert_eq!(changed.voters, members[..odd]);
            assert_eq!(changed.learners, members[odd..]);
            assert!(cluster.on(node.0).get("k").await.unwrap().is_some());
        }
        for nth in [0, 3] {
            cluster.kill(members[nth].0).await;
        }
        cluster.on(members[4].0).put("k", text("w"), None).await.expect("three of five are a majority");
    });
}

#[test]
fn a_dead_node_is_replaced_in_one_step_and_its_number_is_never_given_again() {
    run(async || {
        let mut cluster = Cluster::of(3).await;
        let leader = cluster.leader().await;
        let dead = cluster.ids().into_iter().find(|node| *node != leader).unwrap();
        cluster.kill(dead).await;
        let refused = cluster.node(leader).remove(NodeId(dead), false).await;
        assert!(matches!(&refused, Err(ChangeError::Refused(reason)) if reason.contains("two voters")), "{refused:?}");
        let node = cluster.node(leader).number().await.unwrap();
        let new = node.0;
        assert!(new > 3);
        cluster.start(new).await;
        let changed = cluster.node(leader).add(node, peer(new), false).await.unwrap();
        assert_eq!(changed.learners, [node], "four voters are no better than three");
        let changed = cluster.node(leader).remove(NodeId(dead), false).await.unwrap();
        let voters: Vec<u64> = [1, 2, 3, new].into_iter().filter(|node| *node != dead).collect();
        assert_eq!((changed.voters, changed.learners), (ids(&voters), Vec::new()));
        assert!(cluster.node(leader).number().await.unwrap() > node);
        cluster.on(new).put("k", text("v"), None).await.unwrap();
    });
}

#[test]
fn a_member_that_is_to_vote_no_more_follows_and_one_that_waits_takes_its_place() {
    run(async || {
        let mut cluster = Cluster::of(3).await;
        let leader = cluster.leader().await;
        let one = cluster.ids().into_iter().find(|node| *node != leader).unwrap();
        let follower = |node: u64| Peer { voter: false, ..peer(node) };
        let refusal = async |cluster: &Cluster, node: u64| {
            let refused = cluster.node(one).relocate(NodeId(node), follower(node)).await;
            let Err(ChangeError::Refused(reason)) = refused else { panic!("{refused:?}") };
            reason
        };
        assert!(refusal(&cluster, one).await.contains("two voters"));
        assert!(refusal(&cluster, leader).await.contains("until another node does"));
        let node = cluster.node(one).number().await.unwrap();
        cluster.start(node.0).await;
        assert_eq!(cluster.node(one).add(node, peer(node.0), false).await.unwrap().learners, [node], "it waits");
        let changed = cluster.node(one).relocate(NodeId(one), follower(one)).await.unwrap();
        let voters: Vec<u64> = [1, 2, 3, node.0].into_iter().filter(|node| *node != one).collect();
        assert_eq!((changed.voters, changed.learners), (ids(&voters), ids(&[one])));
        eventually("it follows", || cluster.status(one).part == Part::Learner).await;
        cluster.on(one).put("k", text("v"), None).await.unwrap();
        // It wants its vote back, and waits as any other does: four would be no better than three.
        let changed = cluster.node(one).relocate(NodeId(one), peer(one)).await.unwrap();
        assert_eq!((changed.voters, changed.learners), (ids(&voters), ids(&[one])));
        let changed = cluster.node(one).remove(node, false).await.unwrap();
        assert_eq!(changed.voters, ids(&[1, 2, 3]), "it takes the place of the one that goes");
    });
}

#[test]
fn the_leader_removes_itself_and_the_others_go_on() {
    run(async || {
        let cluster = Cluster::of(3).await;
        let leader = cluster.leader().await;
        let others: Vec<u64> = cluster.ids().into_iter().filter(|node| *node != leader).collect();
        assert!(cluster.node(others[0]).remove(NodeId(leader), false).await.is_err());
        cluster.node(others[0]).remove(NodeId(leader), true).await.unwrap();
        eventually("one of the others leads", || others.iter().any(|node| cluster.status(*node).part == Part::Leader))
            .await;
        cluster.on(others[1]).put("k", text("v"), None).await.unwrap();
        let members: Vec<u64> = cluster.status(others[0]).members.iter().map(|member| member.node.0).collect();
        assert_eq!(members, others);
        assert!(cluster.node(others[0]).remove(NodeId(leader), true).await.is_err(), "it is no member any more");
    });
}

#[test]
fn a_learner_serves_and_does_not_count() {
    run(async || {
        let mut cluster = Cluster::of(3).await;
        let node = cluster.node(2).number().await.unwrap();
        let new = node.0;
        cluster.start(new).await;
        let mut follower = peer(new);
        follower.voter = false;
        let changed = cluster.node(2).add(node, follower, false).await.unwrap();
        assert_eq!(changed.learners, [node]);
        cluster.on(new).put("k", text("v"), None).await.unwrap();
        assert!(cluster.on(new).get("k").await.unwrap().is_some());
        assert_eq!(cluster.status(new).part, Part::Learner);
        let voters: Vec<u64> = vec![1, 2, 3];
        let leader = cluster.leader().await;
        let dead: Vec<u64> = voters.into_iter().filter(|node| *node != leader).collect();
        for node in dead {
            cluster.kill(node).await;
        }
        assert!(cluster.on(new).put("k", text("w"), None).await.is_err(), "one voter of three is no majority");
    });
}

#[test]
fn what_one_node_has_left_goes_on_as_a_cluster_of_one_and_grows_again() {
    run(async || {
        let mut cluster = Cluster::of(3).await;
        let leader = cluster.leader().await;
        cluster.on(leader).put("k", text("v"), None).await.unwrap();
        let survivor = cluster.ids().into_iter().find(|node| *node != leader).unwrap();
        eventually("the survivor has it", || cluster.status(survivor).applied >= cluster.status(leader).applied).await;
        let running = survey(&cluster.folder(survivor), NodeId(survivor)).await;
        assert!(matches!(&running, Err(RecoverError::Disk(error)) if error.to_string().contains("another process")));
        for node in cluster.ids() {
            cluster.kill(node).await;
        }
        // The disks of the two others are gone.
        let had = survey(&cluster.folder(survivor), NodeId(survivor)).await.unwrap();
        assert_eq!(had.members.keys().copied().collect::<Vec<_>>(), ids(&[1, 2, 3]));
        let note = Operation::put("note", text("alone"), None);
        assert_eq!(recover(&cluster.folder(survivor), NodeId(survivor), &[note]).await.unwrap(), had);
        cluster.start(survivor).await;
        assert_eq!(cluster.leader().await, survivor);
        let kept = cluster.on(survivor).get("k").await.unwrap().expect("what the survivor had is there");
        assert_eq!(kept.value, text("v"));
        assert!(cluster.on(survivor).get("note").await.unwrap().is_some());
        // It takes others in as before, under numbers that nobody had.
        let mut voters = vec![survivor];
        for _ in 0..2 {
            let node = cluster.node(survivor).number().await.unwrap();
            assert!(node.0 > 3);
            cluster.start(node.0).await;
            cluster.node(survivor).add(node, peer(node.0), false).await.unwrap();
            voters.push(node.0);
        }
        cluster.kill(survivor).await;
        let other = voters[1];
        assert!(cluster.on(other).get("k").await.is_ok(), "two of three go on");
        // And the one that was saved comes back as any other.
        cluster.start(survivor).await;
        cluster.on(survivor).put("k", text("w"), None).await.unwrap();
    });
}
