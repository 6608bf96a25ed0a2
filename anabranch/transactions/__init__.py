"""Task runs that count together or not at all: `transaction`, and the hooks that undo what they did."""

from anabranch.transactions.modes import CommitMode as CommitMode
from anabranch.transactions.modes import IsolationLevel as IsolationLevel
from anabranch.transactions.modes import TransactionState as TransactionState
from anabranch.transactions.transaction import Transaction as Transaction
from anabranch.transactions.transaction import get_transaction as get_transaction
from anabranch.transactions.transaction import transaction as transaction
