@echo off
rem Runs install.py with the Python of WanGP. All arguments are passed on: install.bat --help
rem No blocks in parentheses and no delayed expansion below, so that folder names may hold ( ) ! and blanks.
setlocal EnableExtensions DisableDelayedExpansion
rem py and python are those of PATH, not files in the current folder.
set "NoDefaultCurrentDirectoryInExePath=1"
set "CODE=1"
set "RUN="

rem Where WanGP may be: the folder given, around this one, beside this one.
set "GIVEN=%~1"
if not defined GIVEN set "GIVEN=%~dp0."
for %%D in ("%GIVEN%" "%~dp0." "%~dp0..") do call :look "%%~fD"
for /d %%D in ("%~dp0..\*") do if exist "%%~fD\wgp.py" call :look "%%~fD"
if defined RUN goto run

rem A conda environment: the active one, then the one that WanGP's guide tells to make.
if defined CONDA_PREFIX call :try "%CONDA_PREFIX%\python.exe"
for %%C in (miniconda3 anaconda3 miniforge3) do call :try "%USERPROFILE%\%%C\envs\wan2gp\python.exe"
for %%C in (miniconda3 anaconda3 miniforge3) do call :try "%ProgramData%\%%C\envs\wan2gp\python.exe"
if defined RUN goto run

py -3 -c "" >nul 2>nul && set "RUN=py -3"
if defined RUN goto run
python -c "" >nul 2>nul && set "RUN=python"
if defined RUN goto run
echo No Python found. Start this with the Python of WanGP:  PATH\python.exe install.py
goto end

:run
%RUN% "%~dp0install.py" %*
set "CODE=%ERRORLEVEL%"

:end
rem Explorer's command line ends in a blank between two quotes; then the window would close at once.
set "CALLED=%CMDCMDLINE:"='%"
if "%CALLED:~-3%"=="' '" pause
exit /b %CODE%

:look
rem The environments that WanGP's own installer makes (env_...), and the usual names, in this folder or beside it.
for %%N in (env_venv env_uv env venv .venv) do call :try "%~1\%%N\Scripts\python.exe"
call :try "%~1\env_conda\python.exe"
for %%N in (env venv .venv) do call :try "%~1\..\%%N\Scripts\python.exe"
exit /b 0

:try
if defined RUN exit /b 0
if not exist "%~1" exit /b 0
"%~1" -c "" >nul 2>nul && set RUN="%~1"
exit /b 0
