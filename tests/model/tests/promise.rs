//! What CI searches: every state within the bounds of the small scopes, and each fault where it shows. The long run is
//! `cargo run -p mailswitch-model` (CONTRIBUTING.md).

use mailswitch_model::fault::Fault;
use mailswitch_model::scope::{self, Arming};
use mailswitch_model::search::{Whole, search};

/// A scope that grows past this is no small one any more.
const MOST: usize = 4_000_000;

#[track_caller]
fn is_kept_in(name: &str) {
    let scope = scope::named(name).expect("a scope of this name");
    let found = search(scope, None, 2, Some(MOST));
    println!(
        "{name}: {} states, {} steps deep, {:.1} s",
        found.states,
        found.depth,
        found.took.as_secs_f64()
    );
    if let Some((property, story)) = found.broken.first() {
        panic!("{property}:\n{story}");
    }
    assert_eq!(found.whole, Whole::Yes, "not every state was looked at");
    assert!(
        found.impossible.is_empty(),
        "nothing like it ever happens, so nothing was shown: {:?}",
        found.impossible
    );
}

#[test]
fn the_promise_is_kept_in_every_order_of_the_steps_of_logins_and_of_a_cutover() {
    is_kept_in("sessions");
}

#[test]
fn the_promise_is_kept_when_links_fail_nodes_restart_on_lagging_files_and_drivers_die() {
    is_kept_in("restarts");
}

#[test]
fn the_promise_is_kept_by_a_second_cutover_with_the_words_of_the_first_on_their_way() {
    is_kept_in("again");
}

#[test]
fn an_armed_account_moves_past_a_silent_node_which_serves_it_no_more() {
    is_kept_in("leases");
}

#[test]
fn an_account_that_is_armed_ahead_moves_forth_and_back_past_a_silent_node() {
    assert_eq!(scope::named("armed ahead").unwrap().arming, Arming::Ahead);
    is_kept_in("armed ahead");
}

#[test]
fn each_cutover_of_an_account_counts_on_its_own_arming_only() {
    is_kept_in("armed twice");
}

#[test]
fn the_promise_is_kept_while_nodes_leave_are_fenced_and_come_back() {
    is_kept_in("leaving");
}

#[test]
fn the_promise_is_kept_when_the_database_goes_back_in_time() {
    is_kept_in("going back");
}

#[test]
fn the_promise_is_kept_when_the_database_goes_back_in_time_while_a_node_is_fenced() {
    is_kept_in("fenced while going back");
}

macro_rules! noticed {
    ($($name:ident => $fault:ident,)*) => {
        $(#[test]
        fn $name() {
            let fault = Fault::$fault;
            let found = search(scope::of(fault), Some(fault), 2, Some(MOST));
            let (property, story) = found.broken.first().expect("the fault is not noticed");
            println!("{} breaks: {property}\n{story}", fault.text());
        })*

        #[test]
        fn there_is_a_test_for_each_fault() {
            assert_eq!(Fault::ALL.to_vec(), [$(Fault::$fault),*]);
        }
    };
}

noticed! {
    a_login_that_resolves_before_it_registers_is_noticed => ResolveBeforeRegister,
    a_login_that_registers_after_it_was_let_in_is_noticed => RegisterAfterLogin,
    a_node_that_falls_back_to_the_default_is_noticed => DefaultOnError,
    a_lease_that_runs_from_its_receipt_is_noticed => LeaseFromReceipt,
    a_clock_beyond_the_margin_is_noticed => ClockBeyondMargin,
    a_lapse_that_keeps_sessions_is_noticed => LapseKeepsSessions,
    an_armed_account_that_is_served_without_a_lease_is_noticed => ArmedWithoutLease,
    an_acknowledgement_before_the_sync_is_noticed => AcknowledgeBeforeSync,
    acknowledgements_that_do_not_name_their_hold_are_noticed => UnnamedAcknowledgements,
    conditions_that_are_decided_before_the_flip_are_noticed => ConditionsBeforeFlip,
    a_leg_that_is_over_at_its_local_close_is_noticed => QuiescedAtLocalClose,
    a_goodbye_without_a_mark_is_noticed => GoodbyeWithoutMark,
    a_goodbye_without_an_instance_is_noticed => GoodbyeWithoutInstance,
    a_fence_that_counts_at_once_is_noticed => FenceCountsAtOnce,
    an_unfenced_node_that_serves_before_its_sync_is_noticed => UnfenceWithoutSync,
    a_snapshot_of_before_is_noticed => OldSnapshot,
    an_arming_acknowledged_without_a_lease_is_noticed => ArmingAcknowledgedWithoutLease,
    a_grant_after_the_hold_that_extends_it_is_noticed => GrantsAfterHold,
    a_give_up_that_keeps_the_old_hold_is_noticed => GiveUpKeepsHold,
    an_abort_that_follows_the_domain_is_noticed => AbortFollowsDomain,
    a_lapse_that_counts_for_another_arming_is_noticed => LapseOfAnotherArming,
    a_grant_to_a_node_that_is_behind_is_noticed => GrantToWhoIsBehind,
    a_verification_of_another_hold_is_noticed => VerifyOfAnotherHold,
    a_node_that_serves_armed_accounts_from_its_file_is_noticed => ArmedServedAfterRestart,
    an_account_that_moves_in_doubt_is_noticed => FlipDespiteDoubt,
    a_grant_to_a_node_that_is_behind_a_disarming_is_noticed => DisarmingForgotten,
    an_arming_that_begins_to_rest_under_a_hold_is_noticed => ArmingRestsUnderHold,
    a_hold_that_nobody_takes_over_is_noticed => NobodyTakesOver,
    a_fenced_node_that_is_not_asked_where_it_stands_is_noticed => FencedNotWaitedFor,
}
