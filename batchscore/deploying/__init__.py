"""`batchscore deploy`: what the workloads need in an Azure ML workspace, compared with what is there, and brought there.

snapshots.py    the files of a code folder, or of an image's build, and what two with the same content have in common
environments.py the environments' files and what their images are built from
components.py   a workload's YAML files -> the components to register, each with its version
wanted.py       everything that should be in the workspace
found.py        what of it is in the workspace
changes.py      wanted and found -> what is to be done; pure
build_contexts.py  the files of an image, put where Azure ML builds it
workspace.py    the edge, and acting
errors.py       what goes wrong there, in words for whoever deploys
deploy.py       a deployment from beginning to end
"""
