//! Payments between tenants: delivered, or returned where there is no open account.

use accounts::account::{Account, AccountCommand};
use accounts::audit::Auditor;
use accounts::payment::Payments;
use quorate_app::decider::Repository;
use quorate_app::process::ProcessRunner;
use quorate_client::Client;

use super::in_time;

async fn handle(client: &Client, tenant: &str, command: AccountCommand) {
    let accounts = Repository::<Account>::new(client.clone());
    accounts.handle("ann", &command).tenant(tenant).await.expect("done");
}

async fn balance(client: &Client, tenant: &str) -> i64 {
    let accounts = Repository::<Account>::new(client.clone());
    accounts.load("ann").tenant(tenant).await.expect("loaded").state.balance
}

#[tokio::test]
async fn a_payment_is_delivered_and_one_that_nobody_takes_comes_back() {
    let cluster = quorate_testing::start().await.expect("started");
    let client = cluster.client();
    for tenant in ["acme", "globex", "initech"] {
        handle(&client, tenant, AccountCommand::Open { owner: "Ann".to_owned() }).await;
    }
    handle(&client, "initech", AccountCommand::Close).await;
    handle(&client, "acme", AccountCommand::Deposit { amount: 100 }).await;
    for (tenant, id, amount) in
        [("globex", "ann", 30), ("globex", "nobody", 20), ("initech", "ann", 10)]
    {
        let to = format!("{tenant}/account-{id}");
        handle(&client, "acme", AccountCommand::Pay { to, amount }).await;
    }
    assert_eq!((balance(&client, "acme").await, balance(&client, "globex").await), (40, 0));

    let settled = async {
        let mut auditor = Auditor::new(&client);
        while auditor.books().payments_sent < 3 || auditor.books().under_way() > 0 {
            auditor.next().await.expect("no fault");
        }
        assert_eq!(auditor.books().payments_returned, 2);
    };
    let payments = ProcessRunner::new(client.clone(), Payments);
    in_time("both are settled", payments.run_until(settled)).await.expect("it stops");
    assert_eq!((balance(&client, "acme").await, balance(&client, "globex").await), (70, 30));
}
