# The image of the environment batchscore-torch. Built by Azure ML (see torch.yml); the context is this folder.
FROM mcr.microsoft.com/azureml/openmpi5.0-cuda12.6-ubuntu24.04:latest

ENV CONDA_PREFIX=/azureml-envs/batchscore
RUN conda create --yes --quiet --prefix $CONDA_PREFIX --override-channels --channel conda-forge \
        python=3.12 pip \
    && conda clean --all --yes
ENV PATH=$CONDA_PREFIX/bin:$PATH CONDA_DEFAULT_ENV=$CONDA_PREFIX

# Every package by version and hash: torch.txt, resolved by `make lock`.
COPY torch.lock vgg.txt /tmp/requirements/
RUN pip install --no-cache-dir --no-deps --require-hashes -r /tmp/requirements/torch.lock \
    && pip install --no-cache-dir --no-deps --require-hashes -r /tmp/requirements/vgg.txt

# A log line is there when it is printed, not when a buffer is full.
ENV PYTHONUNBUFFERED=1
