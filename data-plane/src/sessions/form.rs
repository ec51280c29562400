//! Identifiers get another normal form: a change of `[routing] bare_domain` or of the master-user separators, made while
//! sessions were open because the operator left it unproven (promise F4).
//!
//! A session is registered under the form that its login had. What may have another one now ends, and until its leg
//! is over a hold finds it under both (A2).

use mailswitch_proto::identifier::{Identifier, Normalization, Rules};

use super::order::Order;
use super::{Sessions, filed};

impl Sessions {
    /// Follows a change of the rules that made the identifiers of the sessions that are here.
    pub(crate) fn follow_rules(&self, before: &Rules, now: &Rules) {
        if before == now {
            return;
        }
        // Nobody is filed or leaves meanwhile. Who registers later finds that the rules are others than its own.
        let filing = self.filing.write();
        for entry in self.shards.all() {
            let acting_for = entry.filed_for();
            let also = forms(acting_for.identifiers(), before, now);
            if also.is_empty() {
                continue;
            }
            let acting_for = acting_for.also(also);
            let filed = filed(&acting_for, *filing);
            self.shards.remove(&entry, &entry.filed());
            entry.file_for(acting_for, filed.clone());
            self.shards.insert(&entry, &filed);
            entry.force(Order::Kick);
        }
    }
}

/// The other forms that these identifiers may have now. The logins themselves are not kept: what the earlier rules
/// completed may have been written in full, so both are possible.
fn forms(identifiers: &[Identifier], before: &Rules, now: &Rules) -> Vec<Identifier> {
    let mut forms = Vec::new();
    for identifier in identifiers {
        let text = identifier.as_str();
        let completed = match &before.normalization {
            Normalization::Fleet {
                bare_domain: Some(domain),
            } => text
                .strip_suffix(domain.as_str())
                .and_then(|text| text.strip_suffix('@')),
            _ => None,
        };
        let now = [Some(text), completed]
            .into_iter()
            .flatten()
            .filter_map(|login| Identifier::from_login(login, now).ok());
        forms.extend(now.filter(|form| form != identifier));
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(separators: &[&str], bare_domain: Option<&str>) -> Rules {
        Rules {
            master_user_separators: separators.iter().map(ToString::to_string).collect(),
            normalization: Normalization::Fleet {
                bare_domain: bare_domain.map(str::to_owned),
            },
        }
    }

    #[test]
    fn an_identifier_may_have_the_form_that_the_new_rules_give_it_or_the_login_behind_it() {
        let (bare, org, net) = (
            rules(&[], None),
            rules(&[], Some("example.org")),
            rules(&[], Some("example.net")),
        );
        let star = rules(&["*"], None);
        for (login, before, now, expected) in [
            ("ann", &bare, &org, &["ann@example.org"][..]),
            ("ann@example.org", &bare, &org, &[]),
            ("ann", &org, &bare, &["ann"]),
            ("ann@example.org", &org, &net, &["ann@example.net"]),
            ("bob@else.example", &org, &net, &[]),
            ("ann*root", &bare, &star, &["ann"]),
        ] {
            let identifier = Identifier::from_login(login, before).expect("an identifier");
            let forms = forms(&[identifier], before, now);
            let forms: Vec<&str> = forms.iter().map(Identifier::as_str).collect();
            assert_eq!(forms, expected, "{login}");
        }
    }
}
