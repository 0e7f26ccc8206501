# SPDX-License-Identifier: Apache-2.0
"""The mutation job: the engines are changed in one place at a time, and the suite has to notice.

`lists/` has the changes, as data. `python -m tests.mutation` makes each of them in a copy of the sources,
builds what it has to and runs the tests that are named for it: one of them must fail. A change that they let
pass is a missing test, and the job fails. So it does where a change does not fit the sources any more, and
where a row of the table of pitfalls has no change in one of the engines.
"""
