//! What a consumer gives, once and again.

use sluice_client::{Format, Framing, RecvError, Start};

use crate::broker::{consumer, flow, name, producer, read, run, topic, write, write_value};

pub(crate) fn what_is_committed_does_not_come_again() {
    run(async {
        let (topic, group) = (topic("committed", 3).await, name("group"));
        write(producer(&topic).flows_per_value(7).connect().await.unwrap(), 0..1000).await;
        let mut first = consumer(&topic, &group).connect().await.unwrap();
        assert!(read(&mut first, 1000, true).await.into_iter().eq(0..1000));
        first.close().await.unwrap();
        write(producer(&topic).connect().await.unwrap(), 1000..1010).await;
        let mut second = consumer(&topic, &group).connect().await.unwrap();
        assert!(read(&mut second, 10, true).await.into_iter().eq(1000..1010));
        // Nothing new to commit.
        second.close().await.unwrap();
        consumer(&topic, &group).connect().await.unwrap().close().await.unwrap();
    });
}

pub(crate) fn what_is_not_committed_comes_again() {
    run(async {
        let (topic, group) = (topic("again", 1).await, name("group"));
        write(producer(&topic).flows_per_value(10).connect().await.unwrap(), 0..20).await;
        let mut first = consumer(&topic, &group).connect().await.unwrap();
        let numbers = read(&mut first, 20, false).await;
        assert!(numbers.into_iter().eq(0..20));
        first.close().await.unwrap();
        // Also if the first part was committed. A drop commits as well.
        let mut second = consumer(&topic, &group).connect().await.unwrap();
        let received = loop {
            if let Ok(received) = second.recv().await {
                break received;
            }
        };
        assert_eq!(received.flows[0].sequence_num, 0);
        second.commit(&received.offsets).unwrap();
        let read_before = received.flows.len() as u32;
        drop(second);
        write(producer(&topic).connect().await.unwrap(), 20..21).await;
        let mut third = consumer(&topic, &group).connect().await.unwrap();
        assert!(read(&mut third, 21 - read_before as usize, true).await.into_iter().eq(read_before..21));
    });
}

pub(crate) fn every_format_and_framing() {
    run(async {
        for format in [Format::Goflow2, Format::Flowpipeline, Format::Bwnetflow] {
            for framing in [Framing::Delimited, Framing::Bare] {
                let topic = topic("formats", 1).await;
                let producer = producer(&topic).format(format).framing(framing);
                write(producer.connect().await.unwrap(), 0..5).await;
                let consumer = consumer(&topic, &name("group")).format(format).framing(framing);
                let mut consumer = consumer.connect().await.unwrap();
                let mut flows = Vec::new();
                while flows.len() < 5 {
                    flows.extend(consumer.recv().await.unwrap().flows);
                }
                assert!(flows.into_iter().eq((0..5).map(flow)), "{format:?} {framing:?}");
            }
        }
    });
}

pub(crate) fn a_bad_value_says_where_it_is_and_holds_nothing_up() {
    run(async {
        let (topic, group) = (topic("bad", 1).await, name("group"));
        write(producer(&topic).connect().await.unwrap(), 0..1).await;
        write_value(&topic, 0, Some(b"{\"bytes\": 1}")).await;
        // No value at all, as in a compacted topic.
        write_value(&topic, 0, None).await;
        write(producer(&topic).connect().await.unwrap(), 1..2).await;
        write_value(&topic, 0, Some(b"\x0b{\"bytes\": 1")).await;

        let mut consumer = consumer(&topic, &group).connect().await.unwrap();
        let (mut numbers, mut bad) = (Vec::new(), Vec::new());
        while bad.len() < 2 {
            match consumer.recv().await {
                Ok(received) => numbers.extend(received.flows.iter().map(|flow| flow.sequence_num)),
                Err(RecvError::BadValue(value)) => bad.push(value),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(numbers, [0, 1]);
        let said: Vec<_> = bad.iter().map(|bad| format!("{bad}: {}", bad.reason)).collect();
        let reasons = [
            "message 0 of the value, at byte 0, ends beyond the value or has no length",
            "message 0 of the value, at byte 0, is no flow in this format and framing",
        ];
        let expected = [1, 4].iter().zip(reasons).map(|(offset, reason)| {
            format!("the value at offset {offset} of partition 0 of {topic} cannot be read: {reason}")
        });
        assert!(expected.eq(said.iter().cloned()), "{said:?}");
        assert_eq!(bad[0].value, b"{\"bytes\": 1}");
        // It is passed over for good.
        consumer.commit(&bad[1].offsets()).unwrap();
        consumer.close().await.unwrap();
        write(producer(&topic).connect().await.unwrap(), 2..3).await;
        let mut consumer = crate::broker::consumer(&topic, &group).connect().await.unwrap();
        assert_eq!(read(&mut consumer, 1, true).await, [2]);
    });
}

pub(crate) fn members_of_a_group_share_the_flows() {
    run(async {
        let (topic, group) = (topic("members", 4).await, name("group"));
        let member = async || consumer(&topic, &group).connect().await.unwrap();
        let (mut one, mut two) = (member().await, member().await);
        let mut producer = producer(&topic).flows_per_value(5).connect().await.unwrap();
        let (mut seen, mut by) = (vec![0; 4000], [0; 2]);
        let mut sent = 0;
        // Until both had some and all came: the second member joins while the first one reads.
        while seen.contains(&0) || by.contains(&0) {
            if (sent as usize) < seen.len() {
                for number in sent..sent + 100 {
                    producer.send(&flow(number)).await.unwrap();
                }
                producer.flush().await.unwrap();
                sent += 100;
            }
            let (received, member) = tokio::select! {
                received = one.recv() => (received.unwrap(), 0),
                received = two.recv() => (received.unwrap(), 1),
            };
            for flow in &received.flows {
                seen[flow.sequence_num as usize] += 1;
            }
            by[member] += received.flows.len();
            // Whatever moved to the other member meanwhile.
            [&one, &two][member].commit(&received.offsets).unwrap();
        }
        one.close().await.unwrap();
        two.close().await.unwrap();
    });
}

pub(crate) fn a_group_may_begin_with_what_comes() {
    run(async {
        let topic = topic("latest", 1).await;
        write(producer(&topic).connect().await.unwrap(), 0..10).await;
        let mut consumer = consumer(&topic, &name("group")).start(Start::Latest).connect().await.unwrap();
        let mut producer = producer(&topic).connect().await.unwrap();
        let mut next = 10;
        // It is not known when the consumer has its place.
        let received = loop {
            producer.send(&flow(next)).await.unwrap();
            producer.flush().await.unwrap();
            next += 1;
            tokio::select! {
                received = consumer.recv() => break received.unwrap(),
                () = tokio::task::yield_now() => {}
            }
        };
        assert!(received.flows.iter().all(|flow| flow.sequence_num >= 10), "old flows came");
    });
}
