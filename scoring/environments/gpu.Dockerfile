# The image of the environment batchscore-gpu. Built by Azure ML (see gpu.yml); the context is this folder.
FROM mcr.microsoft.com/azureml/openmpi5.0-cuda12.6-ubuntu24.04:latest

# setuptools 81 has lost pkg_resources, which azureml-core imports where it is there.
ENV CONDA_PREFIX=/azureml-envs/batchscore
RUN conda create --yes --quiet --prefix $CONDA_PREFIX --override-channels --channel conda-forge \
        python=3.12 pip "setuptools<81" \
    && conda clean --all --yes
ENV PATH=$CONDA_PREFIX/bin:$PATH CONDA_DEFAULT_ENV=$CONDA_PREFIX

# Every package by version and hash: gpu.txt and azureml.txt, resolved by `make lock`.
COPY gpu.lock /tmp/requirements/
RUN pip install --no-cache-dir --no-deps --require-hashes -r /tmp/requirements/gpu.lock

# A log line is there when it is printed, not when a buffer is full.
ENV PYTHONUNBUFFERED=1
