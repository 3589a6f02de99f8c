//! Names of topics, and making those that are not there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use tracing::{info, warn};

use super::{CreateTopics, ROUTE};
use crate::kafka::KafkaError;

/// Longest name of a topic.
pub(super) const MAX_NAME: usize = 249;

/// Time that the brokers have to make a topic.
const PATIENCE: Duration = Duration::from_secs(10);

/// The topics of one sink.
pub(super) struct Topics {
    template: String,
    max: usize,
    admin: Option<(AdminClient<DefaultClientContext>, CreateTopics)>,
    /// By route: the topic, and whether it is known to be there.
    known: HashMap<String, (Arc<str>, bool)>,
}

impl Topics {
    pub(super) fn new(
        template: &str,
        max: usize,
        create: Option<CreateTopics>,
        client: &ClientConfig,
    ) -> Result<Topics, KafkaError> {
        let admin = create.map(|create| {
            let mut client = client.clone();
            client.remove("transactional.id");
            client.create().map(|admin| (admin, create)).map_err(KafkaError::Settings)
        });
        Ok(Topics { template: template.to_owned(), max, admin: admin.transpose()?, known: HashMap::new() })
    }

    /// Whether the topic depends on the row's route.
    pub(super) fn is_routed(&self) -> bool {
        self.template.contains(ROUTE)
    }

    /// The topic of a route; `None` if there are as many as there may be.
    pub(super) fn topic(&mut self, route: &str) -> Option<Arc<str>> {
        if let Some((topic, _)) = self.known.get(route) {
            return Some(Arc::clone(topic));
        }
        if self.known.len() >= self.max {
            return None;
        }
        let topic: Arc<str> = sanitize(&self.template.replace(ROUTE, route)).into();
        // Whoever may not make topics finds out when it writes.
        let is_there = self.admin.is_none();
        self.known.insert(route.to_owned(), (Arc::clone(&topic), is_there));
        Some(topic)
    }

    /// Makes the topic of a route if that is allowed and it is not known to be there.
    ///
    /// # Errors
    /// What the brokers say.
    pub(super) async fn ensure(&mut self, route: &str) -> Result<(), ClientError> {
        let (Some((admin, create)), Some((topic, is_there))) = (&self.admin, self.known.get_mut(route)) else {
            return Ok(());
        };
        if *is_there {
            return Ok(());
        }
        let replication = TopicReplication::Fixed(create.replication.unwrap_or(-1));
        let new = NewTopic::new(topic, create.partitions.unwrap_or(-1), replication);
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        for result in admin.create_topics([&new], &options).await? {
            match result {
                Ok(name) => info!(topic = name, "Kafka topic made"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    warn!(topic = name, %code, "Kafka topic not made");
                    return Err(ClientError::AdminOp(code));
                }
            }
        }
        *is_there = true;
        Ok(())
    }

    /// As [`ensure`](Self::ensure), for a topic by its name.
    ///
    /// # Errors
    /// What the brokers say.
    pub(super) async fn ensure_named(&mut self, topic: &str) -> Result<(), ClientError> {
        if self.admin.is_none() {
            return Ok(());
        }
        self.known.entry(topic.to_owned()).or_insert_with(|| (topic.into(), false));
        self.ensure(topic).await
    }

    /// After messages came back: a topic may have been deleted.
    pub(super) fn doubt(&mut self) {
        if self.admin.is_some() {
            self.known.values_mut().for_each(|(_, is_there)| *is_there = false);
        }
    }
}

/// `name` with everything but letters, digits, `.`, `_` and `-` replaced by `_`, and cut to what Kafka takes.
fn sanitize(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let name: String = name.chars().take(MAX_NAME).map(fits).collect();
    match name.as_str() {
        "" => "_".to_owned(),
        "." | ".." => "_".repeat(name.len()),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_one_topic_and_there_is_room_for_so_many() {
        let mut topics = Topics::new("flows-{route}", 2, None, &ClientConfig::new()).unwrap();
        assert!(topics.is_routed());
        assert_eq!(topics.topic("a b/ü").as_deref(), Some("flows-a_b__"));
        assert_eq!(topics.topic("7").as_deref(), Some("flows-7"));
        assert_eq!(topics.topic("8"), None);
        assert_eq!(topics.topic("7").as_deref(), Some("flows-7"));
        assert_eq!(sanitize(".."), "__");
        assert_eq!(sanitize(&"x".repeat(300)).len(), MAX_NAME);
    }
}
